use serde::{Deserialize, Serialize};

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The publisher disconnected, and there is no reconnect window.
    PublisherEnded,
    /// The publisher did not reconnect in time.
    ReconnectTimeout,
    /// The media server stopped reporting, and there is no reconnect window.
    HeartbeatTimeout,
    /// The owner stopped it.
    StoppedByOwner,
    /// Another connection took over.
    TakenOver,
    /// The stream key was replaced.
    KeyRotated,
    /// The project was disabled.
    ProjectDisabled,
    /// The project was deleted.
    ProjectDeleted,
    /// The media server restarted or was lost.
    NodeLost,
    /// No media arrived in time.
    NeverStarted,
}

impl EndReason {
    const ALL: [Self; 10] = [
        Self::PublisherEnded,
        Self::ReconnectTimeout,
        Self::HeartbeatTimeout,
        Self::StoppedByOwner,
        Self::TakenOver,
        Self::KeyRotated,
        Self::ProjectDisabled,
        Self::ProjectDeleted,
        Self::NodeLost,
        Self::NeverStarted,
    ];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PublisherEnded => "publisher_ended",
            Self::ReconnectTimeout => "reconnect_timeout",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::StoppedByOwner => "stopped_by_owner",
            Self::TakenOver => "taken_over",
            Self::KeyRotated => "key_rotated",
            Self::ProjectDisabled => "project_disabled",
            Self::ProjectDeleted => "project_deleted",
            Self::NodeLost => "node_lost",
            Self::NeverStarted => "never_started",
        }
    }

    /// Whether somebody ended the stream, as opposed to silence and lost connections.
    pub const fn is_deliberate(self) -> bool {
        match self {
            Self::StoppedByOwner
            | Self::TakenOver
            | Self::KeyRotated
            | Self::ProjectDisabled
            | Self::ProjectDeleted => true,
            Self::PublisherEnded
            | Self::ReconnectTimeout
            | Self::HeartbeatTimeout
            | Self::NodeLost
            | Self::NeverStarted => false,
        }
    }

    /// Parses the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
