//! Refresh tokens.
//!
//! A session has a random seed and a counter. Its token number *n* is
//! `slr_<session>_<n>_<mac>`, where the MAC is HMAC-SHA-256 of session and
//! number under the seed. So every token that a session ever had can be told
//! from a guess, although only the seed (sealed) and the newest number are
//! kept: the newest may be replaced, the one before it means that an answer was
//! lost, and any older one means theft (RFC 9700 section 4.14.2).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Place, Sealer};
use crate::{
    domain::{Secret, SessionId},
    error::Result,
    random::random_bytes,
};

/// What the refresh tokens of one session are made from.
pub struct RefreshSeed(Zeroizing<Vec<u8>>);

/// A refresh token that a caller gave. It may be a good one, so it cannot be printed.
pub struct RefreshToken {
    /// The session that it says it is of.
    pub session_id: SessionId,
    /// Its number.
    pub counter: i64,
    mac: Vec<u8>,
}

impl RefreshSeed {
    /// A new seed: 256 random bits.
    pub fn generate() -> Self {
        Self(Zeroizing::new(random_bytes::<32>().to_vec()))
    }

    /// The seed as it is kept with its session.
    pub fn seal(&self, id: SessionId, sealer: &Sealer) -> Vec<u8> {
        sealer.seal(&Place::refresh_seed(id), &self.0)
    }

    /// The seed that was kept with a session.
    pub fn unseal(sealed: &[u8], id: SessionId, sealer: &Sealer) -> Result<Self> {
        Ok(Self(sealer.open(&Place::refresh_seed(id), sealed)?))
    }

    /// The session's token with this number.
    pub fn token(&self, id: SessionId, counter: i64) -> Secret {
        let mac = hmac::sign(&self.key(), &message(id, counter));
        let mac = URL_SAFE_NO_PAD.encode(mac);
        Secret::new(format!("slr_{}_{counter}_{mac}", id.uuid().simple()))
    }

    /// Whether a token was made from this seed.
    pub fn made(&self, token: &RefreshToken) -> bool {
        let message = message(token.session_id, token.counter);
        hmac::verify(&self.key(), &message, &token.mac).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl RefreshToken {
    /// Reads what a caller gave; `None` if it has not the form of a token.
    pub fn present(text: &str) -> Option<Self> {
        let mut parts = text.trim().strip_prefix("slr_")?.splitn(3, '_');
        let session = Uuid::try_parse(parts.next().filter(|id| id.len() == 32)?).ok()?;
        let counter = parts
            .next()
            .filter(|digits| digits.len() < 19)?
            .parse()
            .ok()?;
        let mac = URL_SAFE_NO_PAD
            .decode(parts.next().filter(|mac| mac.len() == 43)?)
            .ok()?;
        Some(Self {
            session_id: session.into(),
            counter,
            mac,
        })
    }
}

fn message(id: SessionId, counter: i64) -> Vec<u8> {
    [&id.uuid().as_bytes()[..], &counter.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::{RefreshSeed, RefreshToken};
    use crate::domain::SessionId;

    #[test]
    fn a_seed_knows_its_own_tokens_and_no_others() {
        let id = SessionId::generate();
        let (ours, other) = (RefreshSeed::generate(), RefreshSeed::generate());
        let text = ours.token(id, 7);
        let token = RefreshToken::present(text.expose()).unwrap();

        assert!(ours.made(&token));
        assert!(!other.made(&token));
        let renumbered = text.expose().replace("_7_", "_8_");
        assert!(!ours.made(&RefreshToken::present(&renumbered).unwrap()));
    }

    #[test]
    fn what_has_another_form_is_no_token() {
        for text in ["", "slr_", "slr_1_2_3", "slk_0_0_0", &"_".repeat(1000)] {
            assert!(RefreshToken::present(text).is_none(), "{text:?}");
        }
    }
}
