use uuid::Uuid;

use super::{ApiKeyId, Id, Origin, SessionId, Time, UserId};

/// Something that somebody does, for the audit log.
#[derive(Debug, Clone)]
pub struct Act {
    /// The RPC.
    pub action: &'static str,
    /// Whose account it concerns; nobody's if an address has none.
    pub user_id: Option<UserId>,
    /// The session that does it, or that it begins.
    pub session_id: Option<SessionId>,
    /// The API key that does it.
    pub api_key_id: Option<ApiKeyId>,
    /// What it is done to, if not to the account itself.
    pub resource_id: Option<Uuid>,
    /// Where it is done from.
    pub origin: Origin,
}

impl Act {
    /// What somebody does to an account without a session.
    pub fn of_user(action: &'static str, user_id: Option<UserId>, origin: Origin) -> Self {
        Self {
            action,
            user_id,
            session_id: None,
            api_key_id: None,
            resource_id: None,
            origin,
        }
    }

    /// The same, of a user who was found meanwhile.
    pub fn of(self, id: UserId) -> Self {
        Self {
            user_id: Some(id),
            ..self
        }
    }

    /// The same, in a session.
    pub fn in_session(self, id: SessionId) -> Self {
        Self {
            session_id: Some(id),
            ..self
        }
    }

    /// The same, done to something.
    pub fn on<T>(self, id: Id<T>) -> Self {
        Self {
            resource_id: Some(id.uuid()),
            ..self
        }
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    /// Its id.
    pub id: AuditEventId,
    /// When it happened.
    pub create_time: Time,
    /// The RPC.
    pub action: String,
    /// `OK`, or the reason of the refusal.
    pub result: String,
    /// The session that did it, or that it began.
    pub session_id: Option<SessionId>,
    /// The API key that did it.
    pub api_key_id: Option<ApiKeyId>,
    /// What it was done to, if not to the account itself.
    pub resource_id: Option<Uuid>,
    /// Where it was done from.
    pub origin: Origin,
}

/// Identifies an entry of the audit log.
pub type AuditEventId = Id<AuditEvent>;
