//! The decision whether a publisher may begin, and the record of a refusal.

use super::{
    OrganizationId, OutagePolicy, ProjectId, PublishConflictPolicy, Publisher, QuotaExcess,
    QuotaKind, ReconnectWindow, RefusalId, Stream, StreamState, Time,
};

/// What a project allows publishers to do.
#[derive(Debug, Clone)]
pub struct PublishRules {
    /// The project of the stream key.
    pub project_id: ProjectId,
    /// Whether the account of the owner, or the organization, is suspended.
    pub suspended: bool,
    /// Whether publishers are refused.
    pub disabled: bool,
    /// Until when publishers are refused.
    pub held_until: Option<Time>,
    /// What happens when a second connection publishes.
    pub policy: PublishConflictPolicy,
    /// What destinations get while the publisher is away.
    pub outage_policy: OutagePolicy,
    /// How long a stream waits for its publisher to reconnect.
    pub window: ReconnectWindow,
    /// Whether the publisher's stream key has been replaced without a grace period.
    pub key_replaced: bool,
    /// When the publisher's stream key expires, if it has been replaced with a grace period.
    pub key_expire_time: Option<Time>,
    /// The organization of the project, if it has a quota.
    pub limited_organization: Option<OrganizationId>,
}

/// What BeginPublish does for an accepted publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeginDecision {
    /// Begin a stream.
    Begin,
    /// Resume the stream that is waiting for its publisher.
    Resume,
    /// Repeat the earlier answer: the connection has been accepted before.
    Repeat,
    /// End the running stream and begin another.
    TakeOver,
    /// Continue the running stream with this connection instead of its present one, so that
    /// destinations stay connected.
    Replace,
}

/// Why BeginPublish refuses a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// The account of the owner, or the organization, is suspended.
    Suspended,
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
    /// A limit of the organization is reached.
    QuotaExceeded(QuotaExcess),
}

impl BeginDecision {
    /// What a quota limits of the stream that begins; nothing if none begins. `replaces` tells
    /// whether the project has a stream that ends with it: also one that its media server has lost.
    pub fn quotas(self, replaces: bool) -> &'static [QuotaKind] {
        match self {
            Self::Begin | Self::TakeOver if replaces => {
                &[QuotaKind::StreamMinutes, QuotaKind::DeliveredBytes]
            }
            Self::Begin | Self::TakeOver => &[
                QuotaKind::LiveStreams,
                QuotaKind::StreamMinutes,
                QuotaKind::DeliveredBytes,
            ],
            Self::Resume | Self::Repeat | Self::Replace => &[],
        }
    }
}

impl RefusalCause {
    /// What the owner sees; `None` for a late report of a connection that has ended.
    pub fn reason(self) -> Option<RefusalReason> {
        match self {
            Self::Suspended => Some(RefusalReason::AccountSuspended),
            Self::Disabled => Some(RefusalReason::ProjectDisabled),
            Self::Held(_) => Some(RefusalReason::PublishHeld),
            Self::Conflict => Some(RefusalReason::PublishConflict),
            Self::KeyReplaced => Some(RefusalReason::StreamKeyInvalid),
            Self::QuotaExceeded(_) => Some(RefusalReason::QuotaExceeded),
            Self::ConnectionEnded => None,
        }
    }
}

impl PublishRules {
    /// Decides about a publisher; `running` is the project's stream that has not ended.
    pub fn decide(
        &self,
        running: Option<&Stream>,
        publisher: &Publisher,
        now: Time,
    ) -> Result<BeginDecision, RefusalCause> {
        if self.key_replaced {
            return Err(RefusalCause::KeyReplaced);
        }
        if self.suspended {
            return Err(RefusalCause::Suspended);
        }
        // An accepted connection stays accepted, whatever else refuses new ones.
        if running.is_some_and(|stream| stream.is_connected_to(publisher)) {
            return Ok(BeginDecision::Repeat);
        }
        if self.key_expire_time.is_some_and(|expiry| expiry <= now) {
            return Err(RefusalCause::KeyReplaced);
        }
        if self.disabled {
            return Err(RefusalCause::Disabled);
        }
        if let Some(until) = self.held_until.filter(|until| *until > now) {
            return Err(RefusalCause::Held(until));
        }

        match running {
            None => Ok(BeginDecision::Begin),
            Some(stream) if stream.state == StreamState::Reconnecting => Ok(BeginDecision::Resume),
            Some(_) if self.policy == PublishConflictPolicy::Takeover => {
                Ok(match self.outage_policy {
                    OutagePolicy::End => BeginDecision::TakeOver,
                    OutagePolicy::Hold => BeginDecision::Replace,
                })
            }
            Some(_) => Err(RefusalCause::Conflict),
        }
    }
}

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
        /// The account of the owner, or the organization, was suspended.
        AccountSuspended = "account_suspended",
        /// A limit of the organization was reached.
        QuotaExceeded = "quota_exceeded",
    }
}
