use serde::{Deserialize, Serialize};

use super::{Name, ProjectId, ReconnectWindow, StreamId, Time};

/// A channel of a user, with one stream key and at most one stream at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// The name its owner gave it.
    pub name: String,
    /// Whether publishers are refused.
    pub disabled: bool,
    /// How long a stream waits for its publisher to reconnect.
    pub reconnect_window: ReconnectWindow,
    /// What happens when a second connection publishes.
    pub publish_conflict_policy: PublishConflictPolicy,
    /// The last four characters of the stream key.
    pub stream_key_hint: String,
    /// The stream that has not ended, if there is one.
    pub live_stream_id: Option<StreamId>,
    /// Increases by one with every change of the project, its destinations, streams and relays.
    pub revision: i64,
    /// When it was created.
    pub create_time: Time,
    /// When its own fields last changed.
    pub update_time: Time,
}

/// Changes to a project; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct ProjectUpdate {
    /// Its name.
    pub name: Option<Name>,
    /// Whether publishers are refused.
    pub disabled: Option<bool>,
    /// How long a stream waits for its publisher to reconnect.
    pub reconnect_window: Option<ReconnectWindow>,
    /// What happens when a second connection publishes.
    pub publish_conflict_policy: Option<PublishConflictPolicy>,
}

/// What happens when a second connection publishes to a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishConflictPolicy {
    /// The new connection is refused.
    RejectNew,
    /// The running stream ends and the new connection begins another.
    Takeover,
}

impl PublishConflictPolicy {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RejectNew => "reject_new",
            Self::Takeover => "takeover",
        }
    }

    /// Parses the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::RejectNew, Self::Takeover]
            .into_iter()
            .find(|policy| policy.as_str() == text)
    }
}
