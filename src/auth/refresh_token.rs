//! Refresh tokens.
//!
//! A session has a random seed and a counter. Its token number *n* is
//! `slr_<session>_<n>_<mac>`, where the MAC is HMAC-SHA-256 of session and
//! number under the seed. So every token of a session can be told from a forged one,
//! although the database has only the sealed seed and the newest number. The newest
//! token may be exchanged. The one before it means that a response was lost. Any older
//! one means theft (RFC 9700 section 4.14.2).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{AssociatedData, Sealer};
use crate::{
    domain::{Secret, SessionId},
    error::Result,
    random::random_bytes,
};

/// The seed from which the refresh tokens of one session are derived.
pub struct RefreshSeed(Zeroizing<Vec<u8>>);

/// A refresh token that a caller sent. It may be valid, so it has no `Debug`.
pub struct RefreshToken {
    /// The session that it names.
    pub session_id: SessionId,
    /// Its number.
    pub counter: i64,
    mac: Vec<u8>,
}

/// The place of a genuine token among those of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshTokenAge {
    /// It is the newest, and may be exchanged.
    Newest,
    /// It is the one before the newest: the response that had the newest was lost.
    Previous,
    /// It is older than both: it was stolen, or used twice.
    Reused,
}

impl RefreshSeed {
    /// A new seed: 256 random bits.
    pub fn generate() -> Self {
        Self(Zeroizing::new(random_bytes::<32>().to_vec()))
    }

    /// Seals the seed for its session's row.
    pub fn seal(&self, id: SessionId, sealer: &Sealer) -> Vec<u8> {
        sealer.seal(&AssociatedData::refresh_seed(id), &self.0)
    }

    /// Opens the sealed seed of a session.
    pub fn unseal(sealed: &[u8], id: SessionId, sealer: &Sealer) -> Result<Self> {
        let seed = sealer.open(&AssociatedData::refresh_seed(id), sealed)?;
        Ok(Self(seed))
    }

    /// The session's token with this number.
    pub fn token(&self, id: SessionId, counter: i64) -> Secret {
        let mac = hmac::sign(&self.key(), &message(id, counter));
        let mac = URL_SAFE_NO_PAD.encode(mac);
        Secret::new(format!("slr_{}_{counter}_{mac}", id.uuid().simple()))
    }

    /// Whether the MAC of a token is of this seed.
    pub fn verifies(&self, token: &RefreshToken) -> bool {
        let message = message(token.session_id, token.counter);
        hmac::verify(&self.key(), &message, &token.mac).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl RefreshToken {
    /// Parses a token; `None` if it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (session, rest) = text.trim().strip_prefix("slr_")?.split_once('_')?;
        let (counter, mac) = rest.split_once('_')?;
        if session.len() != 32 || counter.len() >= 19 || mac.len() != 43 {
            return None;
        }
        Some(Self {
            session_id: Uuid::try_parse(session).ok()?.into(),
            counter: counter.parse().ok()?,
            mac: URL_SAFE_NO_PAD.decode(mac).ok()?,
        })
    }

    /// The age of a token whose MAC the seed verifies, where `newest` is the session's counter.
    pub fn age(&self, newest: i64) -> RefreshTokenAge {
        match newest - self.counter {
            0 => RefreshTokenAge::Newest,
            1 => RefreshTokenAge::Previous,
            _ => RefreshTokenAge::Reused,
        }
    }
}

fn message(id: SessionId, counter: i64) -> Vec<u8> {
    [&id.uuid().as_bytes()[..], &counter.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::{RefreshSeed, RefreshToken, RefreshTokenAge};
    use crate::domain::SessionId;

    #[test]
    fn a_seed_verifies_only_its_own_tokens() {
        let id = SessionId::generate();
        let (ours, other) = (RefreshSeed::generate(), RefreshSeed::generate());
        let text = ours.token(id, 7);
        let token = RefreshToken::parse(text.expose()).unwrap();

        assert!(ours.verifies(&token));
        assert!(!other.verifies(&token));
        let renumbered = text.expose().replace("_7_", "_8_");
        assert!(!ours.verifies(&RefreshToken::parse(&renumbered).unwrap()));
    }

    #[test]
    fn a_token_older_than_the_previous_one_is_reused() {
        let (id, seed) = (SessionId::generate(), RefreshSeed::generate());
        let token = RefreshToken::parse(seed.token(id, 7).expose()).unwrap();

        assert_eq!(token.age(7), RefreshTokenAge::Newest);
        assert_eq!(token.age(8), RefreshTokenAge::Previous);
        for newest in [0, 6, 9, 1000] {
            assert_eq!(token.age(newest), RefreshTokenAge::Reused, "{newest}");
        }
    }

    #[test]
    fn a_malformed_token_is_refused() {
        for text in ["", "slr_", "slr_1_2_3", "slk_0_0_0", &"_".repeat(1000)] {
            assert!(RefreshToken::parse(text).is_none(), "{text:?}");
        }
    }
}
