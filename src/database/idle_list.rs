use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{connection::Connection, dialect::Dialect};

/// The idle time after which a connection is pinged before it is used.
const PING_AFTER: Duration = Duration::from_secs(5);

/// The idle time after which a connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The idle connections of a pool, the last used one at the end.
pub(super) struct IdleList<DB: Dialect> {
    connections: VecDeque<IdleConnection<DB>>,
    /// Connections that have been idle since before this time may have failed too.
    last_failure: Option<Instant>,
    is_closed: bool,
}

/// A connection that waits for its next use.
pub(super) struct IdleConnection<DB: Dialect> {
    pub connection: Connection<DB>,
    pub since: Instant,
}

impl<DB: Dialect> IdleList<DB> {
    pub fn new() -> Self {
        Self {
            connections: VecDeque::new(),
            last_failure: None,
            is_closed: false,
        }
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Takes the last used connection, and whether it must be pinged first.
    pub fn pop(&mut self) -> Option<(IdleConnection<DB>, bool)> {
        let idle = self.connections.pop_back()?;
        let may_have_failed = idle.since.elapsed() >= PING_AFTER
            || self.last_failure.is_some_and(|failed| idle.since <= failed);
        Some((idle, may_have_failed))
    }

    /// Adds a healthy connection. Returns a connection to close: this one if it has
    /// expired or the pool is closed, else one that was idle for too long.
    pub fn push(&mut self, connection: Connection<DB>) -> Option<Connection<DB>> {
        let now = Instant::now();
        if self.is_closed || connection.expires_at.is_some_and(|time| time <= now) {
            return Some(connection);
        }
        let since = now;
        self.connections
            .push_back(IdleConnection { connection, since });
        let unused = self
            .connections
            .pop_front_if(|idle| now - idle.since > IDLE_TIMEOUT)?;
        Some(unused.connection)
    }

    /// Records that a connection has failed.
    pub fn record_failure(&mut self) {
        self.last_failure = Some(Instant::now());
    }

    /// Drops the connections that were last used before one that does not answer a ping.
    pub fn drop_unused_since(&mut self, time: Instant) {
        self.record_failure();
        self.connections.retain(|idle| idle.since > time);
    }

    /// Closes the list: connections are not added any more.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Takes all connections.
    pub fn drain(&mut self) -> VecDeque<IdleConnection<DB>> {
        std::mem::take(&mut self.connections)
    }
}
