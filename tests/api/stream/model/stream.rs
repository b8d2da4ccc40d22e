//! The model of one stream.

use sluice::domain::{EndReason, StreamState};

use super::messages::{Connection, Seconds};

/// Timeouts of a stream without media, and of a connection without heartbeats.
pub const CONNECT_TIMEOUT: Seconds = 30;
pub const HEARTBEAT_TIMEOUT: Seconds = 35;

/// One stream.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelStream {
    pub state: StreamState,
    pub epoch: i64,
    pub connection: Connection,
    pub connected: bool,
    pub was_live: bool,
    pub seen: Seconds,
    pub deadline: Option<Seconds>,
    pub key_expiry: Option<Seconds>,
    pub end: Option<(EndReason, Seconds)>,
}

impl ModelStream {
    pub fn new(
        connection: Connection,
        key_expiry: Option<Seconds>,
        media: bool,
        now: Seconds,
    ) -> Self {
        let mut stream = Self {
            state: StreamState::Connecting,
            epoch: 1,
            connection,
            connected: true,
            was_live: false,
            seen: now,
            deadline: Some(now + CONNECT_TIMEOUT),
            key_expiry,
            end: None,
        };
        stream.heartbeat(media, now);
        stream
    }

    pub fn resume(
        &mut self,
        connection: Connection,
        key_expiry: Option<Seconds>,
        media: bool,
        now: Seconds,
    ) {
        self.epoch += 1;
        self.connection = connection;
        self.connected = true;
        self.key_expiry = key_expiry;
        if !self.was_live {
            self.state = StreamState::Connecting;
            self.deadline = Some(now + CONNECT_TIMEOUT);
        }
        self.heartbeat(media || self.was_live, now);
    }

    /// Returns whether the state has changed.
    pub fn heartbeat(&mut self, media: bool, now: Seconds) -> bool {
        let before = self.state;
        self.seen = now;
        if media || self.state == StreamState::Reconnecting && self.was_live {
            self.state = StreamState::Live;
            self.was_live = true;
            self.deadline = None;
        }
        self.state != before
    }

    pub fn disconnect(&mut self, window: Seconds, now: Seconds) {
        self.seen = now;
        if window == 0 {
            self.finish(EndReason::PublisherEnded, now);
        } else {
            self.wait(window, now);
        }
        self.connected = false;
    }

    /// The connection is found to have ended.
    pub fn lose(&mut self, reason: EndReason, window: Seconds, now: Seconds) {
        if window == 0 {
            self.finish(reason, self.seen);
        } else if self.state != StreamState::Reconnecting {
            self.wait(window, now);
        }
        self.connected = false;
    }

    fn wait(&mut self, window: Seconds, now: Seconds) {
        self.state = StreamState::Reconnecting;
        self.deadline = Some(now + window);
    }

    pub fn finish(&mut self, reason: EndReason, time: Seconds) {
        self.state = StreamState::Ended;
        self.connected = false;
        self.deadline = None;
        self.end = Some((reason, time));
    }

    pub fn expire(&mut self, window: Seconds, now: Seconds) -> bool {
        if self.connected && self.key_expiry.is_some_and(|expiry| expiry <= now) {
            self.finish(EndReason::KeyRotated, now);
            return true;
        }
        let overdue = self.deadline.is_some_and(|deadline| deadline <= now);
        let timed_out = self.state == StreamState::Live && self.seen + HEARTBEAT_TIMEOUT <= now;
        match (overdue, timed_out) {
            (true, _) if self.was_live => self.finish(EndReason::ReconnectTimeout, self.seen),
            (true, _) => self.finish(EndReason::NeverStarted, self.seen),
            (_, true) if window == 0 => self.finish(EndReason::HeartbeatTimeout, self.seen),
            (_, true) => self.wait(window, now),
            (false, false) => return false,
        }
        true
    }
}
