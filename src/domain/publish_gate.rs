use super::{ProjectId, PublishConflictPolicy, Publisher, Status, Stream, Time};

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
