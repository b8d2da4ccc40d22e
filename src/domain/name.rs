use unicode_normalization::UnicodeNormalization;

use super::{Invalid, invalid::refuse, invisible_characters::reject_invisible_in_name};

/// A name that a person chose: 1 to 100 characters, none of them invisible.
///
/// It is trimmed and in NFC, otherwise as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    const MAX_CHARACTERS: usize = 100;

    /// Parses a name as typed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        // Bounds the work of normalisation: a character has at most 4 bytes.
        if text.len() > 16 * Self::MAX_CHARACTERS {
            return refuse("must have at most 100 characters");
        }
        let name: String = text.trim().nfc().collect();
        reject_invisible_in_name(&name)?;

        match name.chars().count() {
            0 => refuse("must not be empty"),
            1..=Self::MAX_CHARACTERS => Ok(Self(name)),
            _ => refuse("must have at most 100 characters"),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_keep_every_script_as_typed() {
        for text in [
            "Ünïcödé 日本語 🎮",
            "select update create",
            "O'Brien <b>",
            "a  b",
        ] {
            assert_eq!(Name::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn names_are_trimmed_and_composed() {
        assert_eq!(Name::parse("  Cafe\u{301} ").unwrap().as_str(), "Café");
    }

    #[test]
    fn empty_long_and_invisible_names_are_rejected() {
        for text in [
            "",
            "   ",
            "a\nb",
            "a\0b",
            "\u{200b}",
            "a\u{202e}b",
            &"x".repeat(101),
            &"x".repeat(100_000),
        ] {
            assert!(Name::parse(text).is_err(), "{text:?}");
        }
        assert!(Name::parse(&"é".repeat(100)).is_ok());
    }
}
