//! Revoked sessions and API keys, so that their access tokens are refused without a
//! query for each request.
//!
//! A transaction that ends a session or a key also inserts its id into the table
//! `revocations`. Every replica reads new rows once a second, in the order in which they
//! became visible, whatever time they contain. It holds the ids in
//! memory until the longest-lived token that names them has expired. That is a few
//! bytes for each session ended within a day. The replica that ends a session applies
//! it at once.
//!
//! A revocation must reach every replica within 5 seconds. A replica that could not
//! read the table for `MAX_AGE` cannot guarantee that, so it refuses calls with
//! UNAVAILABLE until it can. Without the database it could not serve them anyway.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use parking_lot::RwLock;
use uuid::Uuid;

use super::Caller;
use crate::domain::{Time, now};

/// The longest time that the last read of the table is relied on.
pub const MAX_AGE: Duration = Duration::from_secs(4);

/// How long an id is held: the longest possible lifetime of an access token, whatever
/// the setting is now or was before, plus a minute for the duration of calls.
pub const RETENTION: TimeDelta = TimeDelta::minutes(24 * 60 + 1);

/// The revocations that this replica knows. A clone shares them.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    ids: Arc<RwLock<RevokedIds>>,
}

#[derive(Debug, Default)]
struct RevokedIds {
    revoke_times: HashMap<Uuid, Time>,
    read_at: Option<Instant>,
}

impl Revocations {
    /// Adds revocations read from the database at `read_at`, and drops those that no
    /// unexpired token can name.
    pub fn update(&self, revoked: impl IntoIterator<Item = (Uuid, Time)>, read_at: Instant) {
        let oldest = now() - RETENTION;
        let mut ids = self.ids.write();
        ids.revoke_times.extend(revoked);
        ids.revoke_times.retain(|_, time| *time > oldest);
        ids.read_at = Some(read_at);
    }

    /// Adds revocations of this replica.
    pub fn add(&self, revoked: impl IntoIterator<Item = Uuid>, time: Time) {
        let revoked = revoked.into_iter().map(|id| (id, time));
        self.ids.write().revoke_times.extend(revoked);
    }

    /// Whether the database was read within `MAX_AGE`.
    pub fn are_current(&self) -> bool {
        self.age().is_some_and(|age| age < MAX_AGE)
    }

    /// The time since the database was read; `None` if it never was.
    pub fn age(&self) -> Option<Duration> {
        self.ids.read().read_at.map(|read_at| read_at.elapsed())
    }

    /// Whether the session or API key of a caller's token is revoked.
    pub fn contain(&self, caller: &Caller) -> bool {
        let ids = self.ids.read();
        ids.revoke_times.contains_key(&caller.token_source())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use chrono::TimeDelta;

    use super::Revocations;
    use crate::{
        auth::Caller,
        domain::{UserId, now},
    };

    #[test]
    fn a_revoked_session_is_held_as_long_as_its_tokens_can_live() {
        let revocations = Revocations::default();
        let [ended, other] = [(); 2].map(|()| Caller::signed_in(UserId::generate()));

        let day_ago = now() - TimeDelta::hours(24);
        revocations.update([(ended.token_source(), day_ago)], Instant::now());
        assert!(revocations.contain(&ended));
        assert!(!revocations.contain(&other));

        let long_ago = now() - super::RETENTION;
        revocations.update([(ended.token_source(), long_ago)], Instant::now());
        assert!(!revocations.contain(&ended));
    }

    #[test]
    fn revocations_are_not_current_before_and_long_after_a_read() {
        let revocations = Revocations::default();
        assert!(!revocations.are_current());

        revocations.update([], Instant::now());
        assert!(revocations.are_current());
        if let Some(earlier) = Instant::now().checked_sub(super::MAX_AGE) {
            revocations.update([], earlier);
            assert!(!revocations.are_current());
        }
    }
}
