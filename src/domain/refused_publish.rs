use super::{Id, Time};

/// A publisher that was refused, as the owner of the project is shown it.
#[derive(Debug, Clone)]
pub struct RefusedPublish {
    /// Its id.
    pub id: RefusedPublishId,
    /// When.
    pub create_time: Time,
    /// Why.
    pub reason: RefusalReason,
    /// The media server that asked.
    pub node_id: String,
    /// The network of the publisher; empty if its address is not known.
    pub peer_prefix: String,
}

/// Identifies a refused publisher.
pub type RefusedPublishId = Id<RefusedPublish>;

/// Why a publisher was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// The key has been replaced by another one.
    StreamKeyInvalid,
    /// Another connection published.
    PublishConflict,
    /// The project was disabled.
    ProjectDisabled,
    /// The owner held publishers off.
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

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
