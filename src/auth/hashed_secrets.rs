//! Random secrets of which the database stores only the hash.

use uuid::Uuid;

use super::Sealer;
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
        Self::with_bytes(id, &random_bytes::<32>())
    }

    /// The secrets of a key that are derived from its id and the id of the request that creates
    /// it: one with each sealing key, the active one's first. So a repeated request gets the same
    /// secret, which is stored nowhere. Nobody can derive it without a sealing key, or once the id
    /// of the request is forgotten.
    pub fn derive(
        id: ApiKeyId,
        request_id: Uuid,
        sealer: &Sealer,
    ) -> impl Iterator<Item = Self> + use<> {
        let ids = [*id.uuid().as_bytes(), *request_id.as_bytes()].concat();
        let digests = sealer.digests("api_key_secret", &ids);
        digests.map(move |digest| Self::with_bytes(id, &digest))
    }

    fn with_bytes(id: ApiKeyId, bytes: &[u8]) -> Self {
        let secret = hex(bytes);
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
