use ring::rand;

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

/// A name of 128 random bits that nobody guesses: 32 hexadecimal digits.
pub(super) fn random_name() -> String {
    format!("{:032x}", u128::from_be_bytes(random_bytes()))
}

/// Whether two names are the same, in a time that does not tell how much of them is.
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    let difference = |all, (a, b): (&u8, &u8)| all | (a ^ b);
    a.len() == b.len() && a.iter().zip(b).fold(0, difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_long_and_never_the_same() {
        assert_eq!(random_name().len(), 32);
        assert_ne!(random_name(), random_name());
    }

    #[test]
    fn only_the_whole_name_is_the_same() {
        assert!(is_same(b"abc", b"abc"));
        for other in ["abd", "bbc", "ab", "abcd", ""] {
            assert!(!is_same(b"abc", other.as_bytes()), "{other}");
        }
    }
}
