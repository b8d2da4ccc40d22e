use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Invalid, Name, OrganizationId, ProjectId, StreamId, Time, invalid::refuse};
use crate::random::{hex, sha256};

/// A channel of an organization, with one stream key and at most one stream at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// The organization that owns it; `None` in events that an earlier version has recorded.
    #[serde(default)]
    pub organization_id: Option<OrganizationId>,
    /// The name its owner gave it.
    #[serde(rename = "name")]
    pub display_name: String,
    /// Whether publishers are refused.
    pub disabled: bool,
    /// How long a stream waits for its publisher to reconnect.
    pub reconnect_window: ReconnectWindow,
    /// What happens when a second connection publishes.
    pub publish_conflict_policy: PublishConflictPolicy,
    /// What destinations get while the publisher is away.
    #[serde(default)]
    pub outage_policy: OutagePolicy,
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

impl Project {
    /// Identifies the version of its own fields and its stream key (AIP-154). What happens to
    /// its destinations, streams and relays does not change it.
    pub fn etag(&self) -> String {
        let window = self.reconnect_window.as_millis();
        let policy = self.publish_conflict_policy.as_str();
        let version = (
            self.id.uuid(),
            &self.display_name,
            self.disabled,
            window,
            policy,
            self.outage_policy.as_str(),
        );
        let changed = (&self.stream_key_hint, self.update_time.timestamp_micros());
        etag(&(version, changed))
    }
}

/// The digest of a version. A time alone would not do: two changes can have the same.
pub(super) fn etag(version: &impl std::fmt::Debug) -> String {
    hex(&sha256(&format!("{version:?}"))[..12])
}

/// Changes to a project; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct ProjectUpdate {
    /// Its name.
    pub display_name: Option<Name>,
    /// Whether publishers are refused.
    pub disabled: Option<bool>,
    /// How long a stream waits for its publisher to reconnect.
    pub reconnect_window: Option<ReconnectWindow>,
    /// What happens when a second connection publishes.
    pub publish_conflict_policy: Option<PublishConflictPolicy>,
    /// What destinations get while the publisher is away.
    pub outage_policy: Option<OutagePolicy>,
}

text_enum! {
    /// What happens when a second connection publishes to a project.
    pub enum PublishConflictPolicy {
        /// The new connection is refused.
        RejectNew = "reject_new",
        /// The running stream ends and the new connection begins another.
        Takeover = "takeover",
    }
}

text_enum! {
    /// What destinations get while the publisher is away.
    #[derive(Default)]
    pub enum OutagePolicy {
        /// Nothing. The returned publisher is sent on a new connection.
        #[default]
        End = "end",
        /// The last picture again and again, on the same connection.
        Hold = "hold",
    }
}

/// How long a stream waits for its publisher to reconnect: 0 to 30 minutes, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconnectWindow(Duration);

impl ReconnectWindow {
    const MAX: Duration = Duration::from_secs(30 * 60);

    /// Checks the bounds, and drops fractions of a millisecond.
    pub fn parse(window: Duration) -> Result<Self, Invalid> {
        if window > Self::MAX {
            return refuse("must be 0 to 30 minutes");
        }
        let millis = u64::try_from(window.as_millis()).unwrap_or(0);
        Ok(Self(Duration::from_millis(millis)))
    }

    /// The window as a duration.
    pub fn as_duration(self) -> Duration {
        self.0
    }

    /// The window in milliseconds, as in the database.
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether a stream ends as soon as its publisher disconnects.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl Default for ReconnectWindow {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}
