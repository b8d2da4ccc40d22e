//! A stream and its legal transitions.
//!
//! ```text
//! CONNECTING --media--> LIVE --connection lost--> RECONNECTING --begin--> LIVE
//!     | deadline          | stop, disable, …          | deadline
//!     v                   v                           v
//!   ENDED               ENDED                       ENDED
//! ```
//!
//! A stream is held by one connection at one epoch. What another connection, or
//! an older epoch, reports changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{EndReason, ProjectId, Publisher, ReconnectWindow, Status, StreamId, Time};

/// What a media server measures. Zero or empty means not measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Bytes received on this connection so far.
    pub bytes_received: i64,
    /// Bits per second, of late.
    pub bitrate_bps: i64,
    /// Width of the picture in pixels.
    pub width: i32,
    /// Height of the picture in pixels.
    pub height: i32,
    /// Frames per second.
    pub fps: f64,
    /// For example `h264`.
    pub video_codec: String,
    /// For example `aac`.
    pub audio_codec: String,
}

/// How long a stream may be without what keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until the first media.
    pub connect: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
}

/// One broadcast of a project.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stream {
    /// Its id.
    pub id: StreamId,
    /// The project that it belongs to.
    pub project_id: ProjectId,
    /// Where it is in its life.
    pub status: Status,
    /// Counts the accepted publishes, from 1.
    pub epoch: i64,
    /// The connection of the newest epoch.
    pub publisher: Publisher,
    /// Whether that connection is believed to stand.
    pub connected: bool,
    /// When the first publisher was accepted.
    pub create_time: Time,
    /// When media first flowed.
    pub live_time: Option<Time>,
    /// When the publisher was last heard of.
    pub last_seen_time: Time,
    /// When it ends by itself, while it is connecting or reconnecting.
    pub deadline: Option<Time>,
    /// From when the key with which the connection published counts no more.
    #[serde(default)]
    pub key_expire_time: Option<Time>,
    /// When it ended.
    pub end_time: Option<Time>,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// What was last measured.
    pub stats: Option<Stats>,
}

/// What a connection is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// Go on.
    Continue,
    /// Disconnect.
    Stop(EndReason),
}

impl Stream {
    /// A stream that an accepted publisher begins.
    pub fn begin(
        project_id: ProjectId,
        publisher: Publisher,
        timeouts: Timeouts,
        now: Time,
    ) -> Self {
        Self {
            id: StreamId::generate(),
            project_id,
            status: Status::Connecting,
            epoch: 1,
            publisher,
            connected: true,
            create_time: now,
            live_time: None,
            last_seen_time: now,
            deadline: Some(now + timeouts.connect),
            key_expire_time: None,
            end_time: None,
            end_reason: None,
            stats: None,
        }
    }

    /// The publisher is back, on a new connection: the next epoch.
    pub fn resume(&mut self, publisher: Publisher, timeouts: Timeouts, now: Time) {
        self.epoch += 1;
        self.publisher = publisher;
        self.connected = true;
        self.stats = None;
        self.last_seen_time = now;
        self.status = if self.live_time.is_some() {
            Status::Live
        } else {
            Status::Connecting
        };
        self.deadline = self.live_time.is_none().then(|| now + timeouts.connect);
    }

    /// The connection that holds the stream is there, with or without media.
    pub fn seen(&mut self, media_flows: bool, now: Time) {
        self.last_seen_time = now;
        if media_flows || self.status == Status::Reconnecting && self.live_time.is_some() {
            self.status = Status::Live;
            self.live_time.get_or_insert(now);
            self.deadline = None;
        }
    }

    /// Whether this connection, at this epoch, holds the stream.
    pub fn is_held_by(&self, publisher: &Publisher, epoch: i64) -> bool {
        self.status != Status::Ended && self.epoch == epoch && self.is_connected_to(publisher)
    }

    /// Whether this is the connection of the newest epoch, and believed to stand.
    pub(super) fn is_connected_to(&self, publisher: &Publisher) -> bool {
        self.connected && self.publisher.is_same_connection(publisher)
    }

    /// Whether it is held by a connection of another boot of this one's media server.
    pub fn is_of_other_boot(&self, publisher: &Publisher) -> bool {
        self.connected && self.publisher.is_of_other_boot(publisher)
    }

    /// What a connection that reports itself is to do.
    pub fn verdict(&self, publisher: &Publisher, epoch: i64) -> Heartbeat {
        if self.is_held_by(publisher, epoch) {
            return Heartbeat::Continue;
        }
        if self.epoch != epoch || !self.publisher.is_same_connection(publisher) {
            return Heartbeat::Stop(EndReason::TakenOver);
        }
        Heartbeat::Stop(self.end_reason.unwrap_or(EndReason::PublisherEnded))
    }

    /// The connection is gone: the stream waits for another, or ends.
    pub fn disconnected(&mut self, window: ReconnectWindow, now: Time) {
        self.connected = false;
        self.last_seen_time = now;
        if window.is_zero() {
            self.end(EndReason::PublisherEnded, now);
        } else {
            self.status = Status::Reconnecting;
            self.deadline = Some(now + window.as_duration());
        }
    }

    /// The connection is found to be gone: since it was last seen.
    pub fn lost(&mut self, reason: EndReason, window: ReconnectWindow, now: Time) {
        self.connected = false;
        if window.is_zero() {
            self.end(reason, self.last_seen_time);
        } else if self.status != Status::Reconnecting {
            self.status = Status::Reconnecting;
            self.deadline = Some(now + window.as_duration());
        }
    }

    /// The stream is over.
    pub fn end(&mut self, reason: EndReason, time: Time) {
        self.status = Status::Ended;
        self.connected = false;
        self.deadline = None;
        self.end_time = Some(time);
        self.end_reason = Some(reason);
    }

    /// Applies what time has done; tells whether that changed anything.
    pub fn expire(&mut self, window: ReconnectWindow, timeouts: Timeouts, now: Time) -> bool {
        let overdue = self.deadline.is_some_and(|deadline| deadline <= now);
        let silent = self.last_seen_time + timeouts.heartbeat <= now;
        let key_expired = self.key_expire_time.is_some_and(|expiry| expiry <= now);
        if key_expired && self.connected {
            self.end(EndReason::KeyRotated, now);
            return true;
        }

        match self.status {
            Status::Connecting if overdue => self.end(EndReason::NeverStarted, self.last_seen_time),
            Status::Reconnecting if overdue && self.live_time.is_none() => {
                self.end(EndReason::NeverStarted, self.last_seen_time);
            }
            Status::Reconnecting if overdue => {
                self.end(EndReason::ReconnectTimeout, self.last_seen_time);
            }
            Status::Live if silent && window.is_zero() => {
                self.end(EndReason::HeartbeatTimeout, self.last_seen_time);
            }
            Status::Live if silent => {
                // `connected` stays: a heartbeat of the same connection makes it live again.
                self.status = Status::Reconnecting;
                self.deadline = Some(now + window.as_duration());
            }
            Status::Connecting | Status::Live | Status::Reconnecting | Status::Ended => {
                return false;
            }
        }
        true
    }
}
