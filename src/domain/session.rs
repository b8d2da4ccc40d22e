use std::time::Duration;

use super::{PeerAddress, SessionId, Time, UserId};

/// One sign-in of a user, from then until it expires or is ended.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The seed of its refresh tokens, sealed.
    pub refresh_seed: Vec<u8>,
    /// The number of its newest refresh token.
    pub refresh_counter: i64,
    /// Where it was begun from.
    pub origin: Origin,
    /// When it was begun.
    pub create_time: Time,
    /// When it was last refreshed.
    pub last_used_time: Time,
    /// When it ends, however often it is refreshed.
    pub expire_time: Time,
}

/// Where a session was begun from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The caller's address, if it is known.
    pub peer_address: Option<PeerAddress>,
    /// What the client calls itself; at most 256 bytes, may be empty.
    pub user_agent: String,
}

impl Origin {
    /// The caller's address as text; empty if it is not known.
    pub fn address(&self) -> String {
        self.peer_address
            .map_or_else(String::new, |peer| peer.to_string())
    }
}

impl SessionTimes {
    /// When a session ends if it is not used before.
    pub fn end_of(&self, session: &Session) -> Time {
        session
            .expire_time
            .min(session.last_used_time + self.idle_timeout)
    }
}

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub struct SessionTimes {
    /// Without being refreshed.
    pub idle_timeout: Duration,
    /// At most.
    pub lifetime: Duration,
}
