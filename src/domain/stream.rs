//! A stream and its legal transitions.
//!
//! ```text
//! CONNECTING --media--> LIVE --connection lost--> RECONNECTING --begin--> LIVE
//!     | deadline          | stop, disable, …          | deadline
//!     v                   v                           v
//!   ENDED               ENDED                       ENDED
//! ```
//!
//! One connection holds a stream, at one epoch. Reports of other connections and of older
//! epochs change nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{MediaIssue, ProjectId, Publisher, ReconnectWindow, StreamId, Time};

/// Measurements of a media server. Zero or empty means not measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StreamStats {
    /// Bytes received on this connection.
    pub bytes_received: i64,
    /// The recent bit rate, in bits per second.
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
    /// What only a reader of the media can measure.
    #[serde(default)]
    pub media: MediaMeasurements,
}

/// Measurements of the media itself, which an edge makes for the streams that it relays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaMeasurements {
    /// The time between key frames, in milliseconds.
    pub keyframe_interval_ms: Option<i64>,
    /// Audio channels; 0 means not measured.
    pub audio_channels: i32,
    /// Audio samples per second; 0 means not measured.
    pub audio_sample_rate: i32,
    /// Whether audio arrives.
    pub has_audio: Option<bool>,
    /// How often timestamps jumped in the last minute.
    pub timestamp_jumps: i32,
}

/// How long a stream continues without media or heartbeats.
#[derive(Debug, Clone, Copy)]
pub struct StreamTimeouts {
    /// The longest time until the first media.
    pub connect: Duration,
    /// The longest time between two heartbeats.
    pub heartbeat: Duration,
}

/// One broadcast of a project.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stream {
    /// Its id.
    pub id: StreamId,
    /// The project that it belongs to.
    pub project_id: ProjectId,
    /// Its state.
    #[serde(rename = "status")]
    pub state: StreamState,
    /// Counts the accepted publishes, from 1.
    pub epoch: i64,
    /// The connection of the newest epoch.
    pub publisher: Publisher,
    /// Whether that connection is believed to be open.
    pub connected: bool,
    /// When the first publisher was accepted.
    pub create_time: Time,
    /// When media first flowed.
    pub live_time: Option<Time>,
    /// When the media server last reported the connection.
    pub last_seen_time: Time,
    /// When it ends unless media arrives, while it is connecting or reconnecting.
    pub deadline: Option<Time>,
    /// When the stream key of the connection expires, if it has been replaced.
    #[serde(default)]
    pub key_expire_time: Option<Time>,
    /// When it ended.
    pub end_time: Option<Time>,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// The newest measurements.
    pub stats: Option<StreamStats>,
    /// The present issues of its media, without those of its relays.
    #[serde(default)]
    pub issues: Vec<MediaIssue>,
}

/// What a publishing connection has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishAction {
    /// Continue.
    Continue,
    /// Disconnect.
    Stop(EndReason),
}

impl Stream {
    /// Begins a stream for an accepted publisher.
    pub fn begin(
        project_id: ProjectId,
        publisher: Publisher,
        timeouts: StreamTimeouts,
        now: Time,
    ) -> Self {
        Self {
            id: StreamId::generate(),
            project_id,
            state: StreamState::Connecting,
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
            issues: Vec::new(),
        }
    }

    /// Resumes with a new connection of the publisher, at the next epoch.
    pub fn resume(&mut self, publisher: Publisher, timeouts: StreamTimeouts, now: Time) {
        self.epoch += 1;
        self.publisher = publisher;
        self.connected = true;
        self.stats = None;
        self.issues.clear();
        self.last_seen_time = now;
        self.state = if self.live_time.is_some() {
            StreamState::Live
        } else {
            StreamState::Connecting
        };
        self.deadline = self.live_time.is_none().then(|| now + timeouts.connect);
    }

    /// The state when the connection that holds the stream is open, with or without media.
    pub fn active_state(&self, media_flows: bool) -> StreamState {
        match media_flows || self.state == StreamState::Reconnecting && self.live_time.is_some() {
            true => StreamState::Live,
            false => self.state,
        }
    }

    /// Records that the connection that holds the stream is open, with or without media.
    pub fn record_activity(&mut self, media_flows: bool, now: Time) {
        self.last_seen_time = now;
        self.state = self.active_state(media_flows);
        if self.state == StreamState::Live {
            self.live_time.get_or_insert(now);
            self.deadline = None;
        }
    }

    /// Whether this connection, at this epoch, holds the stream.
    pub fn is_held_by(&self, publisher: &Publisher, epoch: i64) -> bool {
        self.state != StreamState::Ended && self.epoch == epoch && self.is_connected_to(publisher)
    }

    /// Whether this is the connection of the newest epoch, and believed to be open.
    pub(super) fn is_connected_to(&self, publisher: &Publisher) -> bool {
        self.connected && self.publisher.is_same_connection(publisher)
    }

    /// Whether a connection of another boot of this publisher's media server holds the stream.
    pub fn is_from_other_boot(&self, publisher: &Publisher) -> bool {
        self.connected && self.publisher.is_from_other_boot(publisher)
    }

    /// What a connection that reports this epoch has to do.
    pub fn action_for(&self, publisher: &Publisher, epoch: i64) -> PublishAction {
        if self.is_held_by(publisher, epoch) {
            return PublishAction::Continue;
        }
        if self.epoch != epoch || !self.publisher.is_same_connection(publisher) {
            return PublishAction::Stop(EndReason::TakenOver);
        }
        PublishAction::Stop(self.end_reason.unwrap_or(EndReason::PublisherEnded))
    }

    /// Records that the connection has closed: the stream waits for another, or ends.
    pub fn disconnect(&mut self, window: ReconnectWindow, now: Time) {
        self.connected = false;
        self.last_seen_time = now;
        if window.is_zero() {
            self.end(EndReason::PublisherEnded, now);
        } else {
            self.await_publisher(window, now);
        }
    }

    /// Records that the connection was lost some time after the last report.
    pub fn lose_connection(&mut self, reason: EndReason, window: ReconnectWindow, now: Time) {
        self.connected = false;
        if window.is_zero() {
            self.end(reason, self.last_seen_time);
        } else if self.state != StreamState::Reconnecting {
            self.await_publisher(window, now);
        }
    }

    fn await_publisher(&mut self, window: ReconnectWindow, now: Time) {
        self.state = StreamState::Reconnecting;
        self.issues.clear();
        self.deadline = Some(now + window.as_duration());
    }

    /// Ends the stream.
    pub fn end(&mut self, reason: EndReason, time: Time) {
        self.state = StreamState::Ended;
        self.issues.clear();
        self.connected = false;
        self.deadline = None;
        self.end_time = Some(time);
        self.end_reason = Some(reason);
    }
}

text_enum! {
    /// The state of a stream.
    pub enum StreamState {
        /// A publisher was accepted, but no media has arrived.
        Connecting = "connecting",
        /// Media is arriving.
        Live = "live",
        /// The connection was lost, and the stream waits for the publisher.
        Reconnecting = "reconnecting",
        /// It has ended.
        Ended = "ended",
    }
}

impl StreamState {
    /// The states of streams that have not ended.
    pub const UNENDED: [Self; 3] = [Self::Connecting, Self::Live, Self::Reconnecting];
}

text_enum! {
    /// Why a stream ended.
    pub enum EndReason {
        /// The publisher disconnected, and there is no reconnect window.
        PublisherEnded = "publisher_ended",
        /// The publisher did not reconnect in time.
        ReconnectTimeout = "reconnect_timeout",
        /// The media server stopped reporting, and there is no reconnect window.
        HeartbeatTimeout = "heartbeat_timeout",
        /// The owner stopped it.
        StoppedByOwner = "stopped_by_owner",
        /// Another connection took over.
        TakenOver = "taken_over",
        /// The stream key was replaced.
        KeyRotated = "key_rotated",
        /// The project was disabled.
        ProjectDisabled = "project_disabled",
        /// The project was deleted.
        ProjectDeleted = "project_deleted",
        /// The media server restarted or was lost.
        NodeLost = "node_lost",
        /// No media arrived in time.
        NeverStarted = "never_started",
        /// An operator suspended the account of the owner, or the organization.
        AccountSuspended = "account_suspended",
        /// A limit of the organization was reached.
        QuotaExceeded = "quota_exceeded",
    }
}

impl EndReason {
    /// Whether somebody ended the stream, as opposed to silence and lost connections.
    pub const fn is_deliberate(self) -> bool {
        match self {
            Self::StoppedByOwner
            | Self::TakenOver
            | Self::KeyRotated
            | Self::ProjectDisabled
            | Self::ProjectDeleted
            | Self::AccountSuspended
            | Self::QuotaExceeded => true,
            Self::PublisherEnded
            | Self::ReconnectTimeout
            | Self::HeartbeatTimeout
            | Self::NodeLost
            | Self::NeverStarted => false,
        }
    }
}
