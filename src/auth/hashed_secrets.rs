//! Random secrets of which the database stores only the hash.
//!
//! The secret of an API key or operator key that is created with a `request_id` is also sealed, in
//! the row of that request, so that a repetition returns it again. The row is deleted after 24
//! hours, and a rotation of the sealing key seals it again. The alternative is to store nothing
//! and to derive the secret from the ids with a sealing key. Then a sealing key that leaks later
//! yields each such secret for as long as its request id is known anywhere, and a rotation would
//! have to keep the earlier key until the last repetition.

use uuid::Uuid;

use super::{AssociatedData, Sealer};
use crate::{
    domain::{ApiKeyId, Secret},
    error::Result,
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

    /// The sealed secret of a key, for a repetition of the request that creates the key.
    pub fn seal(&self, id: ApiKeyId, sealer: &Sealer) -> Vec<u8> {
        let secret = self.expose().as_bytes();
        sealer.seal(&AssociatedData::api_key_secret(id), secret)
    }

    /// Opens the sealed secret of a key.
    pub fn open(id: ApiKeyId, sealed: &[u8], sealer: &Sealer) -> Result<Self> {
        let secret = sealer.open_text(&AssociatedData::api_key_secret(id), sealed)?;
        Ok(Self(secret))
    }

    /// The possible secrets of an operator key whose request has no sealed secret: earlier
    /// versions derived it from both ids, with one of the sealing keys.
    pub fn derived(
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
        Self(Secret::trimmed(text))
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
        Self(Secret::trimmed(text))
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
