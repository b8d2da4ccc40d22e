use url::Url;
use uuid::Uuid;

use super::{Invalid, Secret};

/// Where relay workers can read the media of a connection. There may be a key in it.
#[derive(Debug, Clone)]
pub struct PlayUrl(pub Secret);

/// The same as it is kept.
#[derive(Debug, Clone)]
pub struct SealedPlayUrl {
    /// What it is sealed for.
    pub id: Uuid,
    /// The address, sealed.
    pub sealed: Vec<u8>,
}

impl PlayUrl {
    /// Takes a URL of at most 1024 bytes, or nothing.
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
