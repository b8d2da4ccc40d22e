use super::{Invalid, SecondFactorId, Secret, Time, invalid::refuse};

/// The digits of a time-based one-time password.
const DIGITS: usize = 6;

/// The letters of a recovery code, without the hyphens between them.
const RECOVERY_CODE_LETTERS: usize = 24;

/// An authenticator that a user confirmed, whose codes complete a sign-in.
#[derive(Debug, Clone)]
pub struct SecondFactor {
    /// Its id.
    pub id: SecondFactorId,
    /// The user's name for it.
    pub display_name: String,
    /// When its enrolment began.
    pub create_time: Time,
    /// When one of its codes was last accepted.
    pub last_used_time: Option<Time>,
}

/// A code of a second factor as a user typed it. It prints as `***`.
#[derive(Debug, Clone)]
pub enum SecondFactorCode {
    /// The six digits of an authenticator.
    Totp(Secret),
    /// A recovery code: upper-case letters and digits, without hyphens.
    Recovery(Secret),
}

impl SecondFactorCode {
    /// Parses a code. White space and hyphens are left out, and case is ignored.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_kept = |letter: &char| !letter.is_whitespace() && *letter != '-';
        let letters = text.chars().filter(is_kept).take(2 * RECOVERY_CODE_LETTERS);
        let code: String = letters.map(|letter| letter.to_ascii_uppercase()).collect();
        let has_only = |allowed: fn(u8) -> bool| code.bytes().all(allowed);
        match code.len() {
            0 => refuse("must not be empty"),
            DIGITS if has_only(|byte| byte.is_ascii_digit()) => Ok(Self::Totp(Secret::new(code))),
            RECOVERY_CODE_LETTERS if has_only(|byte| byte.is_ascii_alphanumeric()) => {
                Ok(Self::Recovery(Secret::new(code)))
            }
            _ => refuse("must be the 6 digits of an authenticator, or a recovery code"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SecondFactorCode;

    #[test]
    fn a_code_may_be_grouped_and_in_any_case() {
        let code = SecondFactorCode::parse(" 123 456 ");
        assert!(matches!(code, Ok(SecondFactorCode::Totp(code)) if code.expose() == "123456"));

        let code = SecondFactorCode::parse("abcd-EFGH-ijkl-mnop-qrst-2345");
        let Ok(SecondFactorCode::Recovery(code)) = code else {
            panic!("{code:?}");
        };
        assert_eq!(code.expose(), "ABCDEFGHIJKLMNOPQRST2345");
    }

    #[test]
    fn other_texts_are_refused_and_never_printed() {
        for text in [
            "",
            " ",
            "12345",
            "1234567",
            "12345a",
            "é23456",
            &"A".repeat(1000),
        ] {
            assert!(SecondFactorCode::parse(text).is_err(), "{text}");
        }
        let shown = format!("{:?}", SecondFactorCode::parse("123456"));
        assert!(!shown.contains("123456"), "{shown}");
    }
}
