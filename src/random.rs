//! Randomness and digests.

use ring::{digest, rand};

/// Bytes from the system's random generator.
///
/// # Panics
///
/// If the system has no random generator, without which nothing here is safe.
pub(super) fn random_bytes<const N: usize>() -> [u8; N]
where
    [u8; N]: rand::RandomlyConstructable,
{
    rand::generate(&rand::SystemRandom::new())
        .expect("the system has random bytes")
        .expose()
}

/// A random number from 0 to 1, so that replicas do not do things all at once.
pub fn random_fraction() -> f64 {
    f64::from(u16::from_be_bytes(random_bytes())) / f64::from(u16::MAX)
}

/// A name that nobody guesses: 128 random bits in lower-case hexadecimal digits.
pub fn random_name() -> String {
    hex(&random_bytes::<16>())
}

/// SHA-256: how random secrets of at least 128 bits are found again.
pub fn sha256(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .to_vec()
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
