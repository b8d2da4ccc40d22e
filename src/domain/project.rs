use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Invalid, Name, ProjectId, Secret, StreamId, Time};

/// One channel of a user: one stream key, at most one stream at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// What its owner calls it.
    pub name: String,
    /// Whether publishers are refused.
    pub disabled: bool,
    /// How long a stream waits for its publisher to come back.
    pub reconnect_window: ReconnectWindow,
    /// What a second publisher gets.
    pub publish_conflict_policy: PublishConflictPolicy,
    /// The last four characters of the stream key.
    pub stream_key_hint: String,
    /// The stream that has not ended.
    pub live_stream_id: Option<StreamId>,
    /// Grows by one with every change of the project and what belongs to it.
    pub revision: i64,
    /// When it was created.
    pub create_time: Time,
    /// When its own fields last changed.
    pub update_time: Time,
}

/// What an owner changes about a project; `None` leaves it unchanged.
#[derive(Debug, Clone, Default)]
pub struct ProjectUpdate {
    /// What it is called.
    pub name: Option<Name>,
    /// Whether publishers are refused.
    pub disabled: Option<bool>,
    /// How long a stream waits for its publisher.
    pub reconnect_window: Option<ReconnectWindow>,
    /// What a second publisher gets.
    pub publish_conflict_policy: Option<PublishConflictPolicy>,
}

/// What happens when a second connection publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishConflictPolicy {
    /// The newcomer is refused.
    RejectNew,
    /// The running stream ends and the newcomer begins a new one.
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

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::RejectNew, Self::Takeover]
            .into_iter()
            .find(|policy| policy.as_str() == text)
    }
}

/// How long a stream waits for its publisher to come back: 0 to 30 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconnectWindow(Duration);

impl ReconnectWindow {
    const MAX: Duration = Duration::from_secs(30 * 60);

    /// Takes a span of up to 30 minutes; it is kept in milliseconds.
    pub fn parse(span: Duration) -> Result<Self, Invalid> {
        if span > Self::MAX {
            return Err(Invalid::because("must be 0 to 30 minutes"));
        }
        Ok(Self(Duration::from_millis(
            u64::try_from(span.as_millis()).unwrap_or(0),
        )))
    }

    /// The span.
    pub fn as_duration(self) -> Duration {
        self.0
    }

    /// The span in milliseconds, as in the database.
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether a lost publisher ends the stream at once.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl Default for ReconnectWindow {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}

/// The secret with which to publish to a project: `sk_` and 40 hexadecimal digits.
#[derive(Debug, Clone)]
pub struct StreamKey(pub Secret);

impl StreamKey {
    /// Takes what a publisher gave; any text of 1 to 255 bytes may be asked about.
    pub fn present(text: &str) -> Result<Self, Invalid> {
        match text.len() {
            0 => Err(Invalid::because("must not be empty")),
            1..=255 => Ok(Self(Secret::new(text))),
            _ => Err(Invalid::because("must have at most 255 bytes")),
        }
    }

    /// The last four characters.
    pub fn hint(&self) -> String {
        let key = self.0.expose();
        key.get(key.len().saturating_sub(4)..)
            .unwrap_or_default()
            .to_owned()
    }
}

/// A stream key as it is kept: to be found, to be shown again, and to be recognised.
#[derive(Debug, Clone)]
pub struct SealedStreamKey {
    /// SHA-256 of the key.
    pub hash: Vec<u8>,
    /// The key, sealed.
    pub sealed: Vec<u8>,
    /// The last four characters.
    pub hint: String,
}
