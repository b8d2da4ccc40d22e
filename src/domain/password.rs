use unicode_normalization::UnicodeNormalization;

use zeroize::Zeroizing;
use zxcvbn::{feedback::Feedback, zxcvbn};

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

    /// How many guesses a password has to withstand: what is out of reach at a slow
    /// hash, and what eight random characters do.
    const MIN_GUESSES: u64 = 100_000_000;

    /// How many characters are estimated: the time grows with more than their
    /// square, and whoever needs more than these has no guessable password.
    const ESTIMATED: usize = 32;

    /// Takes a new password: 8 to 71 bytes that are hard to guess, also for who
    /// knows a few things about its owner. What it is made of does not matter
    /// (OWASP ASVS 5.0, 6.2.5). Takes up to a tenth of a second.
    pub fn choose(text: &str, about: &[&str]) -> Result<Self, Invalid> {
        let password = Self::present(text)?;
        if password.0.expose().len() < Self::MIN_BYTES {
            return Err(Invalid::because("must have at least 8 bytes"));
        }

        let known: Vec<_> = about.iter().copied().flat_map(with_parts).collect();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let start: Zeroizing<String> =
            Zeroizing::new(password.0.expose().chars().take(Self::ESTIMATED).collect());
        let estimate = zxcvbn(&start, &known);
        if estimate.guesses() < Self::MIN_GUESSES {
            return Err(too_weak(estimate.feedback()));
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

/// A text about somebody, what stands before an at sign in it, its words, and
/// these without what is between them; bounded, because the estimate takes longer
/// the more there is.
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

/// Why a password is refused, and what would make it better.
fn too_weak(feedback: Option<&Feedback>) -> Invalid {
    let warning = feedback.and_then(Feedback::warning);
    let suggestions = feedback.map(Feedback::suggestions).unwrap_or_default();
    let advice = warning
        .map(|warning| warning.to_string())
        .into_iter()
        .chain(suggestions.iter().map(ToString::to_string));
    let advice: Vec<_> = advice.collect();
    match advice.is_empty() {
        true => Invalid::because("must be harder to guess"),
        false => Invalid::because(format!("must be harder to guess: {}", advice.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Invalid, Password};

    fn choose(text: &str) -> Result<Password, Invalid> {
        Password::choose(text, &[])
    }

    #[test]
    fn is_bounded_to_what_bcrypt_reads() {
        let long = "correct horse battery staple; incorrect donkey accumulator paper clips!";
        assert_eq!(long.len(), 71);
        assert!(choose(long).is_ok());
        assert!(choose(&format!("{long}!")).is_err());
        assert!(choose("kX9$vQ2m").is_ok());
        assert!(choose("kX9$vQ2").is_err());
        assert!(Password::present(&"é".repeat(36)).is_err());
    }

    #[test]
    fn is_hard_to_guess_and_else_as_its_owner_likes() {
        for weak in [
            "password",
            "Password1!",
            "qwertyuiop",
            "12345678901",
            "aaaaaaaaaaaa",
        ] {
            assert!(choose(weak).is_err(), "{weak}");
        }
        for strong in [
            "correct horse battery staple",
            "плохая лошадь скрепка",
            "zwölf boxkämpfer jagen",
        ] {
            assert!(choose(strong).is_ok(), "{strong}");
        }
    }

    #[test]
    fn is_not_what_everybody_knows_about_its_owner() {
        let about = ["augusta.lovelace@example.com", "Augusta Lovelace"];
        for text in ["augusta.lovelace", "Lovelace1815", "augustalovelace"] {
            assert!(Password::choose(text, &about).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_what_would_be_better() {
        let Err(Invalid(reason)) = choose("password") else {
            panic!("a common password was taken");
        };
        assert!(reason.starts_with("must be harder to guess: "), "{reason}");
    }

    #[test]
    fn refuses_nul_which_bcrypt_would_cycle() {
        assert!(choose("correct horse\0battery staple").is_err());
    }

    #[test]
    fn is_the_same_however_it_was_composed() {
        let composed = choose("caf\u{e9} au lait, s'il vous plaît").unwrap();
        let decomposed = choose("cafe\u{301} au lait, s'il vous plaît").unwrap();

        assert_eq!(composed.expose(), decomposed.expose());
    }

    #[test]
    fn does_not_print() {
        let password = choose("correct horse battery staple").unwrap();
        assert_eq!(format!("{password:?}"), "Password(***)");
    }
}
