use std::fmt;

use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Invalid, invalid::refuse, invisible_characters::trim_invisible};

/// A secret text: it prints as `***` and is wiped when dropped.
///
/// It has no `Display`, so that it cannot end up in a message:
///
/// ```compile_fail,E0277
/// let secret = sluice::domain::Secret::new("key");
/// println!("{secret}");
/// ```
///
/// It has no `Serialize`, so that it cannot end up in a file, response or log. Code that needs the
/// text calls `expose`:
///
/// ```compile_fail,E0277
/// fn is_serialisable<T: serde::Serialize>(_: T) {}
/// is_serialisable(sluice::domain::Secret::new("key"));
/// ```
///
/// Nothing else is wrong with these lines:
///
/// ```
/// fn is_serialisable<T: serde::Serialize>(_: T) {}
/// is_serialisable("key");
/// let secret = sluice::domain::Secret::new("key");
/// println!("{secret:?} {}", secret.expose());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Wraps a text without the white space and invisible characters around it, such as the line end
    /// and the byte order mark of a file.
    pub fn trimmed(text: &str) -> Self {
        Self::new(trim_invisible(text))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The secret for publishing to a project: `sk_` and 40 hexadecimal digits.
#[derive(Debug, Clone)]
pub struct StreamKey(pub Secret);

impl StreamKey {
    /// Parses the key of a publisher: 1 to 255 bytes, whether or not it has the usual form.
    ///
    /// White space and invisible characters around it are removed: people paste keys.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = trim_invisible(text);
        match text.len() {
            0 => refuse("must not be empty"),
            1..=255 => Ok(Self(Secret::new(text))),
            _ => refuse("must have at most 255 bytes"),
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

/// The address from which relay workers read the media of a connection. It may contain a key.
#[derive(Debug, Clone)]
pub struct PlayUrl(pub Secret);

/// A play URL as the database stores it.
#[derive(Debug, Clone)]
pub struct SealedPlayUrl {
    /// The id for which it is sealed.
    pub id: Uuid,
    /// The sealed address.
    pub sealed: Vec<u8>,
}

impl PlayUrl {
    /// Parses a URL of at most 1024 bytes; `None` if the text is empty.
    pub fn parse(text: &str) -> Result<Option<Self>, Invalid> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > 1024 {
            return refuse("must have at most 1024 bytes");
        }
        match Url::parse(text) {
            Ok(url) if url.has_host() => Ok(Some(Self(Secret::new(text)))),
            _ => refuse("must be a URL with a host such as rtmp://10.0.0.5/live/name, or empty"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_output_is_redacted_at_any_depth() {
        let secret = Secret::new("key");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(format!("{:#?}", Some(&secret)), "Some(\n    ***,\n)");
    }
}
