//! Access tokens that were checked lately, so that a signature is checked once and
//! not for every call: an Ed25519 one takes longer than all else that a call needs.
//!
//! A token is found by its SHA-256; the token itself is not kept. What can change
//! since it was checked is asked every time: whether it has expired, and whether
//! its key is still accepted. Revocations are asked after either way.

use quick_cache::sync::Cache;
use ring::digest::{SHA256, digest};

use super::{Caller, LEEWAY_SECONDS, SigningKeys};
use crate::domain::{Time, now};

/// How many are remembered: some 4 MB.
const CAPACITY: usize = 20_000;

/// A token that was found to be valid.
#[derive(Debug, Clone)]
pub(super) struct CheckedToken {
    pub(super) caller: Caller,
    pub(super) expire_time: Time,
    /// The id of the key that signed it.
    pub(super) key_id: Box<str>,
}

/// The tokens that were checked lately.
pub(super) struct CheckedTokens(Cache<Hash, CheckedToken>);

type Hash = [u8; 32];

impl CheckedTokens {
    /// The caller of a token that was checked before and is still valid, and when
    /// it expires.
    pub(super) fn find(&self, hash: &Hash, keys: &SigningKeys) -> Option<(Caller, Time)> {
        let token = self.0.get(hash)?;
        let is_valid = token.expire_time.timestamp() + LEEWAY_SECONDS as i64 >= now().timestamp()
            && keys.verifier(&token.key_id).is_some();
        is_valid.then_some((token.caller, token.expire_time))
    }

    /// Remembers a token that was checked.
    pub(super) fn remember(&self, hash: Hash, token: CheckedToken) {
        self.0.insert(hash, token);
    }
}

impl Default for CheckedTokens {
    fn default() -> Self {
        Self(Cache::new(CAPACITY))
    }
}

/// Under which hash a token is remembered.
pub(super) fn hash_of(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::{CheckedToken, CheckedTokens, hash_of};
    use crate::{
        auth::{Caller, LEEWAY_SECONDS, SigningKeys, Subject},
        domain::{ApiKeyId, Scopes, Secret, now},
    };

    fn keys() -> SigningKeys {
        SigningKeys::from_secret(&Secret::new("a secret of at least thirty-two bytes"))
    }

    /// Whether a token is found that expires after so many seconds.
    fn is_found(keys: &SigningKeys, key_id: &str, seconds: i64) -> bool {
        let checked = CheckedTokens::default();
        let subject = Subject::Operator {
            key: ApiKeyId::generate(),
        };
        let caller = Caller {
            subject,
            scopes: Scopes::default(),
        };
        let token = CheckedToken {
            caller,
            expire_time: now() + TimeDelta::seconds(seconds),
            key_id: key_id.into(),
        };
        checked.remember(hash_of("a token"), token);

        assert!(checked.find(&hash_of("another"), keys).is_none());
        let found = checked.find(&hash_of("a token"), keys);
        assert!(found.is_none_or(|(found, _)| found == caller));
        found.is_some()
    }

    #[test]
    fn a_token_is_found_until_it_expires() {
        let (keys, leeway) = (keys(), LEEWAY_SECONDS as i64);
        let id = keys.signing_key().unwrap();

        assert!(is_found(&keys, &id, 60));
        assert!(is_found(&keys, &id, 1 - leeway));
        assert!(!is_found(&keys, &id, -1 - leeway));
    }

    #[test]
    fn a_token_of_a_key_that_has_retired_is_not_found() {
        let keys = keys();
        let id = keys.signing_key().unwrap();
        assert!(!is_found(&keys, "another key", 60));

        keys.keep(vec![], |_| Some(now()));
        assert!(!is_found(&keys, &id, 60));
    }
}
