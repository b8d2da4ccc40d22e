use crate::{
    domain::Secret,
    random::{hex, random_bytes, sha256},
};

/// The token in a message: `slm_` and 256 random bits. Nothing but the message
/// has it; its hash is kept.
#[derive(Debug, Clone)]
pub struct MailToken(Secret);

impl MailToken {
    /// A new token.
    pub fn generate() -> Self {
        Self(Secret::new(format!("slm_{}", hex(&random_bytes::<32>()))))
    }

    /// Takes what a caller gave.
    pub fn present(text: &str) -> Self {
        Self(Secret::new(text.trim()))
    }

    /// Under what it is found.
    pub fn hash(&self) -> Vec<u8> {
        sha256(self.0.expose())
    }

    /// The text, for the message.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}
