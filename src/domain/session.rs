use std::time::Duration;

use super::{RequestOrigin, SessionId, Time, UserId};

/// One sign-in of a user, until it expires or is revoked.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The user who signed in.
    pub user_id: UserId,
    /// The sealed seed of its refresh tokens.
    pub refresh_seed: Vec<u8>,
    /// The number of its newest refresh token.
    pub refresh_counter: i64,
    /// The client that signed in.
    pub origin: RequestOrigin,
    /// When it began.
    pub create_time: Time,
    /// When it was last refreshed.
    pub last_used_time: Time,
    /// When it ends, even if it is refreshed.
    pub expire_time: Time,
}

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub struct SessionTimeouts {
    /// The longest time between two refreshes.
    pub idle_timeout: Duration,
    /// The longest time in total.
    pub lifetime: Duration,
}

impl SessionTimeouts {
    /// When a session ends if it is not refreshed before.
    pub fn end_of(&self, session: &Session) -> Time {
        session
            .expire_time
            .min(session.last_used_time + self.idle_timeout)
    }
}
