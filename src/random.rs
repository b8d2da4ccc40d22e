//! Randomness and digests.

use ring::{digest, rand};

/// Random bytes from the operating system.
///
/// # Panics
///
/// If the operating system has no random generator.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N]
where
    [u8; N]: rand::RandomlyConstructable,
{
    rand::generate(&rand::SystemRandom::new())
        .expect("the system has random bytes")
        .expose()
}

/// A random number from 0 to 1, for jitter.
pub fn random_fraction() -> f64 {
    f64::from(u16::from_be_bytes(random_bytes())) / f64::from(u16::MAX)
}

/// An unguessable id: 128 random bits as lower-case hexadecimal digits.
pub fn random_id() -> String {
    hex(&random_bytes::<16>())
}

/// The SHA-256 of a text. Random secrets of at least 128 bits are stored as this hash.
pub fn sha256(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .to_vec()
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Bytes in base32 (RFC 4648 section 6), without padding.
pub(crate) fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let groups = bytes.chunks(5).flat_map(|group| {
        let mut padded = [0; 8];
        padded[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(padded);
        let letters = (8 * group.len()).div_ceil(5);
        (0..letters).map(move |at| char::from(ALPHABET[(bits >> (35 - 5 * at)) as usize & 31]))
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    use super::base32;

    /// The test vectors of RFC 4648 section 10.
    #[test]
    fn base32_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }
}
