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
