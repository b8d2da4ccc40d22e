use url::Url;
use uuid::Uuid;

use super::{Invalid, Secret};

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
            return Err(Invalid::because("must have at most 1024 bytes"));
        }
        match Url::parse(text) {
            Ok(url) if url.has_host() => Ok(Some(Self(Secret::new(text)))),
            _ => Err(Invalid::because(
                "must be a URL with a host such as rtmp://10.0.0.5/live/name, or empty",
            )),
        }
    }
}
