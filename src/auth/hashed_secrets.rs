//! Random secrets of which the database stores only the hash.

use crate::{
    domain::{ApiKeyId, Secret},
    random::{hex, random_bytes, sha256},
};

/// The secret of an API key: `slk_<id>_<secret>` with 256 random bits.
#[derive(Debug, Clone)]
pub struct ApiKeySecret(Secret);

/// The token in an e-mail message: `slm_` and 256 random bits.
///
/// Only the message contains it; the database stores its hash.
#[derive(Debug, Clone)]
pub struct MailToken(Secret);

impl ApiKeySecret {
    /// A new secret for a key.
    pub fn generate(id: ApiKeyId) -> Self {
        let secret = hex(&random_bytes::<32>());
        Self(Secret::new(format!("slk_{}_{secret}", id.uuid().simple())))
    }

    /// A secret that a caller sent.
    pub fn new(text: &str) -> Self {
        Self(Secret::new(text.trim()))
    }

    /// The SHA-256 hash that is stored.
    pub fn hash(&self) -> Vec<u8> {
        sha256(self.0.expose())
    }

    /// The text, for the one response that shows it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl MailToken {
    /// A new token.
    pub fn generate() -> Self {
        Self(Secret::new(format!("slm_{}", hex(&random_bytes::<32>()))))
    }

    /// A token that a caller sent.
    pub fn new(text: &str) -> Self {
        Self(Secret::new(text.trim()))
    }

    /// The SHA-256 hash that is stored.
    pub fn hash(&self) -> Vec<u8> {
        sha256(self.0.expose())
    }

    /// The text, for the e-mail message.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}
