use super::{
    ProjectId, PublishConflictPolicy, Publisher, ReconnectWindow, RefusalReason, Status, Stream,
    Time,
};

/// How a project receives a publisher.
#[derive(Debug, Clone)]
pub struct PublishGate {
    /// The project that the stream key opened.
    pub project_id: ProjectId,
    /// Whether publishers are refused.
    pub disabled: bool,
    /// Until when publishers are refused.
    pub held_until: Option<Time>,
    /// What a second publisher gets.
    pub policy: PublishConflictPolicy,
    /// How long a stream waits for its publisher to come back.
    pub window: ReconnectWindow,
    /// From when the key that was given counts no more, if it has been replaced.
    pub key_expire_time: Option<Time>,
}

/// How an accepted publisher comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It begins a stream.
    Begin,
    /// It goes on with the stream that waits for it.
    Resume,
    /// It has been accepted before.
    Repeat,
    /// It ends the running stream and begins another.
    TakeOver,
}

/// Why a publisher is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The project is disabled.
    Disabled,
    /// The owner holds publishers off until then.
    Held(Time),
    /// Another connection publishes.
    Conflict,
    /// The connection has published before, and that has ended.
    ConnectionEnded,
    /// The key has been replaced by another one.
    KeyReplaced,
}

impl Refusal {
    /// What the owner is shown of it; nothing of a report that was merely late.
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

impl PublishGate {
    /// Decides about a publisher, given the project's stream that has not ended.
    pub fn admit(
        &self,
        running: Option<&Stream>,
        publisher: &Publisher,
        now: Time,
    ) -> Result<Admission, Refusal> {
        // Who was accepted stays accepted: what refuses newcomers does not refuse a repetition.
        if running.is_some_and(|stream| stream.is_connected_to(publisher)) {
            return Ok(Admission::Repeat);
        }
        if self.key_expire_time.is_some_and(|expiry| expiry <= now) {
            return Err(Refusal::KeyReplaced);
        }
        if self.disabled {
            return Err(Refusal::Disabled);
        }
        if let Some(until) = self.held_until.filter(|until| *until > now) {
            return Err(Refusal::Held(until));
        }

        match running {
            None => Ok(Admission::Begin),
            Some(stream) if stream.status == Status::Reconnecting => Ok(Admission::Resume),
            Some(_) if self.policy == PublishConflictPolicy::Takeover => Ok(Admission::TakeOver),
            Some(_) => Err(Refusal::Conflict),
        }
    }
}
