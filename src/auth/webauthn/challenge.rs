use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::random::{random_bytes, sha256};

/// A challenge that an authenticator signs: 256 random bits.
#[derive(Debug)]
pub struct Challenge(String);

/// The SHA-256 of a challenge, by which the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeHash(pub Vec<u8>);

impl Challenge {
    /// A new challenge.
    pub fn generate() -> Self {
        Self(URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
    }

    /// The challenge in base64url.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its hash.
    pub fn hash(&self) -> ChallengeHash {
        ChallengeHash::of(&self.0)
    }
}

impl ChallengeHash {
    /// The hash of a challenge in base64url.
    pub(super) fn of(challenge: &str) -> Self {
        Self(sha256(challenge))
    }
}
