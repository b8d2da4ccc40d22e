use unicode_normalization::UnicodeNormalization;

use zeroize::Zeroizing;
use zxcvbn::{feedback::Feedback, zxcvbn};

use super::{Invalid, Secret, invalid::refuse};

/// A password in NFC, of at most 71 bytes and without control characters.
///
/// bcrypt reads 72 bytes with the final NUL, and repeats a text that contains NUL. Without these
/// bounds, one hash would match several passwords.
#[derive(Debug, Clone)]
pub struct Password(Secret);

impl Password {
    const MIN_BYTES: usize = 8;
    const MAX_BYTES: usize = 71;

    /// How many guesses a password has to withstand: too many for a slow hash, and reached by
    /// eight random characters.
    const MIN_GUESSES: u64 = 100_000_000;

    /// How many characters are estimated: the time grows faster than their square, and longer
    /// passwords are not guessable.
    const MAX_ESTIMATED_CHARACTERS: usize = 32;

    /// Parses a new password: 8 to 71 bytes that are hard to guess, even with `about` known.
    ///
    /// There are no rules for its characters (OWASP ASVS 5.0, 6.2.5). The check takes up to 100 ms.
    pub fn parse_new(text: &str, about: &[&str]) -> Result<Self, Invalid> {
        let password = Self::parse(text)?;
        if password.0.expose().len() < Self::MIN_BYTES {
            return refuse("must have at least 8 bytes");
        }

        let known: Vec<_> = about.iter().copied().flat_map(with_parts).collect();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let start = password.expose().chars();
        let start = start.take(Self::MAX_ESTIMATED_CHARACTERS);
        let start: Zeroizing<String> = Zeroizing::new(start.collect());
        let estimate = zxcvbn(&start, &known);
        if estimate.guesses() < Self::MIN_GUESSES {
            return Err(too_weak(estimate.feedback()));
        }
        Ok(password)
    }

    /// Parses a password for checking it: 1 to 71 bytes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return refuse("must not be empty");
        }
        // Composition shortens a text by less than this factor.
        if text.len() > 4 * Self::MAX_BYTES {
            return refuse("must have at most 71 bytes");
        }
        if text.chars().any(char::is_control) {
            return refuse("must not contain control characters");
        }

        let secret = Secret::new(text.nfc().collect::<String>());
        if secret.expose().len() > Self::MAX_BYTES {
            return refuse("must have at most 71 bytes");
        }
        Ok(Self(secret))
    }

    /// The text itself, for the hash.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// A text, its part before an at sign, with and without separators, and its words.
///
/// Bounded, because the duration of the estimate grows with their number.
fn with_parts(text: &str) -> Vec<String> {
    const MAX_BYTES: usize = 254;
    const MAX_PARTS: usize = 12;
    let text = &text[..text.floor_char_boundary(MAX_BYTES)];
    let own = text.split('@').next().unwrap_or(text);
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    let joined = own.chars().filter(|letter| letter.is_alphanumeric());

    let parts = [text.to_owned(), own.to_owned(), joined.collect()];
    let words = words.filter(|word| word.len() > 2).map(str::to_owned);
    parts.into_iter().chain(words).take(MAX_PARTS).collect()
}

/// The error for a weak password, with advice.
fn too_weak(feedback: Option<&Feedback>) -> Invalid {
    let warning = feedback.and_then(Feedback::warning);
    let suggestions = feedback.map(Feedback::suggestions).unwrap_or_default();
    let mut advice: Vec<_> = warning.iter().map(ToString::to_string).collect();
    advice.extend(suggestions.iter().map(ToString::to_string));
    match advice.is_empty() {
        true => Invalid::because("must be harder to guess"),
        false => Invalid::because(format!("must be harder to guess: {}", advice.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Invalid, Password};

    fn parse_new(text: &str) -> Result<Password, Invalid> {
        Password::parse_new(text, &[])
    }

    #[test]
    fn a_password_fits_into_the_input_of_bcrypt() {
        let long = "correct horse battery staple; incorrect donkey accumulator paper clips!";
        assert_eq!(long.len(), 71);
        assert!(parse_new(long).is_ok());
        assert!(parse_new(&format!("{long}!")).is_err());
        assert!(parse_new("kX9$vQ2m").is_ok());
        assert!(parse_new("kX9$vQ2").is_err());
        assert!(Password::parse(&"é".repeat(36)).is_err());
    }

    #[test]
    fn guessable_passwords_are_rejected_in_any_alphabet() {
        let weak = "password Password1! qwertyuiop 12345678901 aaaaaaaaaaaa";
        for weak in weak.split_whitespace() {
            assert!(parse_new(weak).is_err(), "{weak}");
        }
        for strong in [
            "correct horse battery staple",
            "плохая лошадь скрепка",
            "zwölf boxkämpfer jagen",
        ] {
            assert!(parse_new(strong).is_ok(), "{strong}");
        }
    }

    #[test]
    fn only_the_first_32_characters_are_estimated() {
        let strong = "zwölf boxkämpfer jagen";
        assert!(parse_new(&format!("{}{strong}", "a".repeat(8))).is_ok());
        assert!(parse_new(&format!("{}{strong}", "a".repeat(32))).is_err());
    }

    #[test]
    fn passwords_from_the_name_or_address_are_rejected() {
        let about = ["augusta.lovelace@example.com", "Augusta Lovelace"];
        for text in ["augusta.lovelace", "Lovelace1815", "augustalovelace"] {
            assert!(Password::parse_new(text, &about).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rejection_gives_advice() {
        let Err(Invalid(reason)) = parse_new("password") else {
            panic!("a common password was taken");
        };
        assert!(reason.starts_with("must be harder to guess: "), "{reason}");
    }

    #[test]
    fn nul_is_rejected() {
        assert!(parse_new("correct horse\0battery staple").is_err());
    }

    #[test]
    fn composed_and_decomposed_forms_are_equal() {
        let composed = parse_new("caf\u{e9} au lait, s'il vous plaît").unwrap();
        let decomposed = parse_new("cafe\u{301} au lait, s'il vous plaît").unwrap();

        assert_eq!(composed.expose(), decomposed.expose());
    }

    #[test]
    fn debug_output_is_redacted() {
        let password = parse_new("correct horse battery staple").unwrap();
        assert_eq!(format!("{password:?}"), "Password(***)");
    }
}
