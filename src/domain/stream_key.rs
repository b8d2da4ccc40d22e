use super::{Invalid, Secret};

/// The secret for publishing to a project: `sk_` and 40 hexadecimal digits.
#[derive(Debug, Clone)]
pub struct StreamKey(pub Secret);

impl StreamKey {
    /// Parses the key of a publisher: 1 to 255 bytes, whether or not it has the usual form.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.len() {
            0 => Err(Invalid::because("must not be empty")),
            1..=255 => Ok(Self(Secret::new(text))),
            _ => Err(Invalid::because("must have at most 255 bytes")),
        }
    }

    /// The last four characters.
    pub fn hint(&self) -> String {
        let key = self.0.expose();
        key.get(key.len().saturating_sub(4)..)
            .unwrap_or_default()
            .to_owned()
    }
}

/// A stream key as the database stores it.
#[derive(Debug, Clone)]
pub struct SealedStreamKey {
    /// SHA-256 of the key, by which its project is found.
    pub hash: Vec<u8>,
    /// The sealed key, from which it can be revealed.
    pub sealed: Vec<u8>,
    /// The last four characters.
    pub hint: String,
}
