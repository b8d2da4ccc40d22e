use unicode_normalization::UnicodeNormalization;

use super::{Invalid, Secret};

/// A password in NFC, of at most 71 bytes and without control characters.
///
/// bcrypt reads 72 bytes, one of which ends the text, and repeats a text that
/// contains NUL: anything else would match more than one password.
#[derive(Debug, Clone)]
pub struct Password(Secret);

impl Password {
    const MIN_BYTES: usize = 8;
    const MAX_BYTES: usize = 71;

    /// Takes a password for a new account: 8 to 71 bytes.
    pub fn choose(text: &str) -> Result<Self, Invalid> {
        let password = Self::present(text)?;
        if password.0.expose().len() < Self::MIN_BYTES {
            return Err(Invalid::because("must have at least 8 bytes"));
        }
        Ok(password)
    }

    /// Takes a password that is to be checked: 1 to 71 bytes.
    pub fn present(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::because("must not be empty"));
        }
        // Composing shortens a text by less than this.
        if text.len() > 4 * Self::MAX_BYTES {
            return Err(Invalid::because("must have at most 71 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::because("must not contain control characters"));
        }

        let secret = Secret::new(text.nfc().collect::<String>());
        if secret.expose().len() > Self::MAX_BYTES {
            return Err(Invalid::because("must have at most 71 bytes"));
        }
        Ok(Self(secret))
    }

    /// The text itself, for the hash.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::Password;

    #[test]
    fn is_bounded_to_what_bcrypt_reads() {
        assert!(Password::choose(&"x".repeat(7)).is_err());
        assert!(Password::choose(&"x".repeat(8)).is_ok());
        assert!(Password::choose(&"x".repeat(71)).is_ok());
        assert!(Password::choose(&"x".repeat(72)).is_err());
        assert!(Password::choose(&"é".repeat(36)).is_err());
    }

    #[test]
    fn refuses_nul_which_bcrypt_would_cycle() {
        assert!(Password::choose("password\0password").is_err());
    }

    #[test]
    fn is_the_same_however_it_was_composed() {
        let composed = Password::choose("caf\u{e9} au lait").unwrap();
        let decomposed = Password::choose("cafe\u{301} au lait").unwrap();

        assert_eq!(composed.expose(), decomposed.expose());
    }

    #[test]
    fn does_not_print() {
        assert_eq!(
            format!("{:?}", Password::choose("correct horse").unwrap()),
            "Password(***)"
        );
    }
}
