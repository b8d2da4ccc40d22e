use std::fmt;

use crate::random::random_id;

/// The prefix of all public names; no stream key has it.
const PREFIX: &str = "p_";

/// The name to which nginx-rtmp renames a stream, so that its stream key stays hidden. It
/// is new with each publish, and recognised after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PublicName(String);

impl PublicName {
    /// A new one, with 128 random bits.
    pub(crate) fn generate() -> Self {
        Self(format!("{PREFIX}{}", random_id()))
    }

    /// Parses the name of a stream; `None` if it is not a public name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (digits.len() == 32 && digits.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::PublicName;
    use crate::domain::StreamKey;

    #[test]
    fn a_public_name_is_recognised_and_no_stream_key_is_one() {
        let name = PublicName::generate();
        assert_eq!(PublicName::parse(name.as_str()), Some(name.clone()));
        assert_ne!(PublicName::generate(), name);

        let key = StreamKey::generate();
        assert_eq!(PublicName::parse(key.0.expose()), None);
        for other in ["", "p_", "p_0123", &name.as_str().to_uppercase()] {
            assert_eq!(PublicName::parse(other), None, "{other}");
        }
    }
}
