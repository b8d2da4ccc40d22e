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

text_enum! {
    /// Why a publish was refused, as far as the owner of the project sees it.
    pub enum RefusalReason {
        /// The stream key had been replaced.
        StreamKeyInvalid = "stream_key_invalid",
        /// Another connection was publishing.
        PublishConflict = "publish_conflict",
        /// The project was disabled.
        ProjectDisabled = "project_disabled",
        /// The owner had put publishing on hold.
        PublishHeld = "publish_held",
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
