use super::{RefusalId, Time};

/// A refused publish, as the owner of the project sees it.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its id.
    pub id: RefusalId,
    /// When it was refused.
    pub create_time: Time,
    /// Why it was refused.
    pub reason: RefusalReason,
    /// The media server.
    pub node_id: String,
    /// The network of the publisher; empty if its address is not known.
    pub peer_prefix: String,
}

/// Why a publish was refused, as far as the owner of the project sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// The stream key had been replaced.
    StreamKeyInvalid,
    /// Another connection was publishing.
    PublishConflict,
    /// The project was disabled.
    ProjectDisabled,
    /// The owner had put publishing on hold.
    PublishHeld,
}

impl RefusalReason {
    const ALL: [Self; 4] = [
        Self::StreamKeyInvalid,
        Self::PublishConflict,
        Self::ProjectDisabled,
        Self::PublishHeld,
    ];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StreamKeyInvalid => "stream_key_invalid",
            Self::PublishConflict => "publish_conflict",
            Self::ProjectDisabled => "project_disabled",
            Self::PublishHeld => "publish_held",
        }
    }

    /// Parses the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// Why BeginPublish refuses a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// The project is disabled.
    Disabled,
    /// The owner has put publishing on hold until then.
    Held(Time),
    /// Another connection is publishing.
    Conflict,
    /// This connection has published before, and its publish has ended.
    ConnectionEnded,
    /// The stream key has been replaced.
    KeyReplaced,
}

impl RefusalCause {
    /// What the owner sees; `None` for a late report of a connection that has ended.
    pub fn reason(self) -> Option<RefusalReason> {
        match self {
            Self::Disabled => Some(RefusalReason::ProjectDisabled),
            Self::Held(_) => Some(RefusalReason::PublishHeld),
            Self::Conflict => Some(RefusalReason::PublishConflict),
            Self::KeyReplaced => Some(RefusalReason::StreamKeyInvalid),
            Self::ConnectionEnded => None,
        }
    }
}
