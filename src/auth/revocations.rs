//! Ended sessions and API keys, so that their access tokens are refused without
//! a query for each request.
//!
//! Whatever ends a session or a key writes its id into the table `revocations`,
//! in the same transaction. Every replica asks once a second for what is new
//! there, and keeps the ids in memory until the last token that names them has
//! expired, even one of the longest lifetime: that is a few bytes for each session
//! ended within a day. The replica that ended it does not even wait for that.
//!
//! A revocation must reach every replica within 5 seconds. A replica that could
//! not ask for [`TRUSTED_FOR`] cannot promise that, so it refuses calls
//! (UNAVAILABLE) until it can; without the database it could not do them anyway.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use uuid::Uuid;

use super::Caller;
use crate::domain::{Time, now};

/// How long what was read last is relied on.
pub const TRUSTED_FOR: Duration = Duration::from_secs(4);

/// How long ids are kept: as long as an access token can live, whatever the
/// setting is now or was before, and a minute for clocks that differ.
pub const KEPT: TimeDelta = TimeDelta::minutes(24 * 60 + 1);

/// What was ended, as far as this replica knows. A clone shares it.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    shared: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    ended: HashMap<Uuid, Time>,
    as_of: Option<Instant>,
}

impl Revocations {
    /// Takes what was ended according to the database as it was at a moment, and
    /// forgets what no token can name any more.
    pub fn update(&self, ended: impl IntoIterator<Item = (Uuid, Time)>, as_of: Instant) {
        let forgotten = now() - KEPT;
        let mut known = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        known.ended.extend(ended);
        known.ended.retain(|_, time| *time > forgotten);
        known.as_of = Some(as_of);
    }

    /// Takes what this replica ended itself.
    pub fn add(&self, ended: impl IntoIterator<Item = Uuid>, time: Time) {
        let ended = ended.into_iter().map(|id| (id, time));
        let mut known = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        known.ended.extend(ended);
    }

    /// Whether the database was read lately enough.
    pub fn are_current(&self) -> bool {
        let known = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        known
            .as_of
            .is_some_and(|as_of| as_of.elapsed() < TRUSTED_FOR)
    }

    /// For how long the database was not read; `None` if it never was.
    pub fn age(&self) -> Option<Duration> {
        let known = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        known.as_of.map(|as_of| as_of.elapsed())
    }

    /// Whether the session or the key behind a token was ended.
    pub fn contain(&self, caller: &Caller) -> bool {
        let known = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        known.ended.contains_key(&caller.token_source())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use chrono::TimeDelta;

    use super::Revocations;
    use crate::{
        auth::{Caller, Subject},
        domain::{Scopes, SessionId, UserId, now},
    };

    fn caller() -> Caller {
        Caller {
            subject: Subject::User {
                user: UserId::generate(),
                session: SessionId::generate(),
            },
            scopes: Scopes::default(),
        }
    }

    #[test]
    fn an_ended_session_is_remembered_as_long_as_its_tokens_live() {
        let revocations = Revocations::default();
        let (ended, other) = (caller(), caller());

        let day_ago = now() - TimeDelta::hours(24);
        revocations.update([(ended.token_source(), day_ago)], Instant::now());
        assert!(revocations.contain(&ended));
        assert!(!revocations.contain(&other));

        let long_ago = now() - super::KEPT;
        revocations.update([(ended.token_source(), long_ago)], Instant::now());
        assert!(!revocations.contain(&ended));
    }

    #[test]
    fn what_was_never_or_not_lately_read_is_not_relied_on() {
        let revocations = Revocations::default();
        assert!(!revocations.are_current());

        revocations.update([], Instant::now());
        assert!(revocations.are_current());
        if let Some(earlier) = Instant::now().checked_sub(super::TRUSTED_FOR) {
            revocations.update([], earlier);
            assert!(!revocations.are_current());
        }
    }
}
