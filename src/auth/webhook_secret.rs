//! The secret that signs the messages of a webhook.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

use super::{AssociatedData, Sealer};
use crate::{
    domain::{Secret, WebhookId, WebhookTarget},
    error::{Error, Result},
    random::random_bytes,
};

/// The prefix of a symmetric secret (Standard Webhooks).
const PREFIX: &str = "whsec_";

/// The secret of a webhook: `whsec_` and 32 random bytes in base64.
#[derive(Debug, Clone)]
pub struct WebhookSecret(pub Secret);

impl WebhookSecret {
    /// A new secret.
    pub fn generate() -> Self {
        let key = STANDARD.encode(random_bytes::<32>());
        Self(Secret::new(format!("{PREFIX}{key}")))
    }

    /// Seals the secret for its webhook's row.
    pub fn seal(&self, id: WebhookId, sealer: &Sealer) -> Vec<u8> {
        let aad = AssociatedData::webhook_secret(id);
        sealer.seal(&aad, self.0.expose().as_bytes())
    }

    /// Opens a sealed secret of a webhook.
    pub fn unseal(sealed: &[u8], id: WebhookId, sealer: &Sealer) -> Result<Self> {
        let aad = AssociatedData::webhook_secret(id);
        sealer.open_text(&aad, sealed).map(Self)
    }

    /// The secrets that sign the messages of a webhook: the current one, and the one before if it
    /// is still used.
    pub fn of_target(target: &WebhookTarget, sealer: &Sealer) -> Result<Vec<Self>> {
        let previous = target.previous_secret_sealed.as_deref();
        let sealed = [Some(target.secret_sealed.as_slice()), previous];
        let sealed = sealed.into_iter().flatten();
        sealed
            .map(|sealed| Self::unseal(sealed, target.id, sealer))
            .collect()
    }

    /// The signature of a message: HMAC-SHA-256 in base64.
    pub fn sign(&self, message: &[u8]) -> Result<String> {
        let text = self.0.expose();
        let key = STANDARD
            .decode(text.strip_prefix(PREFIX).unwrap_or(text))
            .map_err(|_| {
                Error::internal(anyhow::anyhow!("the secret of a webhook is no base64"))
            })?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Ok(STANDARD.encode(hmac::sign(&key, message)))
    }
}
