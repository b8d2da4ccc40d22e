use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Invalid, invalid::refuse, invisible_characters::is_invisible};

const MAX_CODE_BYTES: usize = 64;
const MAX_MESSAGE_CHARACTERS: usize = 512;

/// An error of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayError {
    /// The code, for programs.
    pub code: String,
    /// Whether a retry cannot succeed.
    pub fatal: bool,
    /// The message for people, without addresses.
    pub message: String,
}

impl RelayError {
    /// Parses a code: 1 to 64 letters A to Z, digits and underscores.
    pub fn parse_code(text: &str) -> Result<String, Invalid> {
        let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if text.is_empty() || text.len() > MAX_CODE_BYTES || !text.bytes().all(allowed) {
            return refuse("must have 1 to 64 letters A to Z, digits and underscores");
        }
        Ok(text.to_owned())
    }

    /// Redacts a worker's message: at most 512 characters, and of each address only the scheme.
    ///
    /// Addresses may contain stream keys, or the host of a media server.
    pub fn redact(message: &str) -> String {
        let words = message.split(|c: char| c.is_whitespace() || is_invisible(c));
        let words = words.filter(|word| !word.is_empty());
        let text = words.map(without_address).collect::<Vec<_>>().join(" ");
        text.chars().take(MAX_MESSAGE_CHARACTERS).collect()
    }
}

/// A word up to the scheme of the first address in it.
fn without_address(word: &str) -> Cow<'_, str> {
    match word.split_once("://") {
        None => word.into(),
        Some((scheme, _)) => format!("{scheme}://***").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::RelayError;

    #[test]
    fn addresses_are_redacted_to_their_scheme() {
        for (said, kept) in [
            (
                "rtmp://a.example.com/live2/k3y: Connection refused",
                "rtmp://*** Connection refused",
            ),
            (
                "cannot open 'rtmps://b.example.com:443/app?x=k3y'",
                "cannot open 'rtmps://***",
            ),
            (
                "srt://c.example.com?streamid=k3y,rtmp://k3y/k3y",
                "srt://***",
            ),
            ("RTMP://[2001:db8::1]:1935/app/k3y", "RTMP://***"),
            ("rtmp://ada:k3y@d.example.com/app", "rtmp://***"),
            ("https://e.example.com\\k3y", "https://***"),
            ("tls://", "tls://***"),
            ("two\nlines\tand  more", "two lines and more"),
            ("", ""),
        ] {
            assert_eq!(RelayError::redact(said), kept, "{said}");
        }
    }

    #[test]
    fn a_message_has_at_most_512_characters() {
        assert_eq!(RelayError::redact(&"ü".repeat(600)), "ü".repeat(512));
        let long = format!("{} rtmp://a.example.com/app/k3y", "x".repeat(500));
        assert!(!RelayError::redact(&long).contains("k3y"));
    }

    #[test]
    fn a_code_has_capital_letters_digits_and_underscores() {
        for code in ["A", "CONNECTION_REFUSED", "E_404", &"X".repeat(64)] {
            assert_eq!(RelayError::parse_code(code).as_deref(), Ok(code));
        }
        for code in ["", "refused", "NOT OK", "Ä", &"X".repeat(65)] {
            assert!(RelayError::parse_code(code).is_err(), "{code}");
        }
    }
}
