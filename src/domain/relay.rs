use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DestinationId, ProjectId, StreamId, Time};

/// One stream on its way to one destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Relay {
    /// The stream.
    pub stream_id: StreamId,
    /// The destination.
    pub destination_id: DestinationId,
    /// The project of both.
    pub project_id: ProjectId,
    /// Whether it is to run.
    pub wanted: bool,
    /// What is observed.
    pub state: RelayState,
    /// Failures in a row.
    pub attempt: i64,
    /// While it is retrying: when to try again.
    pub next_retry_time: Option<Time>,
    /// When its bytes last grew.
    pub last_progress_time: Option<Time>,
    /// Bytes that the present try has sent.
    pub bytes_sent: i64,
    /// Bits per second, of late.
    pub bitrate_bps: i64,
    /// What went wrong last.
    pub error: Option<RelayError>,
    /// The worker that has it.
    pub lease: Option<Lease>,
    /// When it last changed, but for its bytes.
    pub update_time: Time,
}

/// A worker's right to run a relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lease {
    /// Its id, new with every claim.
    pub id: Uuid,
    /// Who has it.
    pub worker_id: String,
    /// When it was given.
    pub claim_time: Time,
    /// When it ends unless it is renewed.
    pub expire_time: Time,
}

/// What is observed of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayState {
    /// Nobody works on it.
    Idle,
    /// A worker has it; nothing was sent yet.
    Starting,
    /// Its bytes grow.
    Broadcasting,
    /// A worker has it, but its bytes do not grow.
    Stalled,
    /// It failed and is tried again.
    Retrying,
    /// It failed for good.
    Failed,
    /// A worker has it and is to stop it.
    Stopping,
}

/// What went wrong with a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayError {
    /// For programs.
    pub code: String,
    /// Whether trying again would not help.
    pub fatal: bool,
    /// For people; without what could be a key.
    pub message: String,
}

impl RelayState {
    const ALL: [Self; 7] = [
        Self::Idle,
        Self::Starting,
        Self::Broadcasting,
        Self::Stalled,
        Self::Retrying,
        Self::Failed,
        Self::Stopping,
    ];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Broadcasting => "broadcasting",
            Self::Stalled => "stalled",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
        }
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}
