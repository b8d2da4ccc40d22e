use uuid::Uuid;

use super::{ApiKeyId, AuditEventId, Id, OrganizationId, RequestOrigin, SessionId, Time, UserId};

/// An action with its actor and target, as the audit log records it.
#[derive(Debug, Clone)]
pub struct AuditContext {
    /// The RPC.
    pub action: &'static str,
    /// The account; `None` if an address has no account.
    pub user_id: Option<UserId>,
    /// The session that acts, or that the action begins.
    pub session_id: Option<SessionId>,
    /// The API key that acts.
    pub api_key_id: Option<ApiKeyId>,
    /// The target, unless it is the account itself.
    pub resource_id: Option<Uuid>,
    /// The organization that it concerns, if the target does not tell.
    pub organization_id: Option<OrganizationId>,
    /// The caller's address and user agent.
    pub origin: RequestOrigin,
}

impl AuditContext {
    /// An action on an account, without a session.
    pub fn for_user(action: &'static str, user_id: Option<UserId>, origin: RequestOrigin) -> Self {
        Self {
            action,
            user_id,
            session_id: None,
            api_key_id: None,
            resource_id: None,
            organization_id: None,
            origin,
        }
    }

    /// Sets the user.
    pub fn with_user(mut self, id: UserId) -> Self {
        self.user_id = Some(id);
        self
    }

    /// Sets the session.
    pub fn with_session(mut self, id: SessionId) -> Self {
        self.session_id = Some(id);
        self
    }

    /// Sets the organization.
    pub fn with_organization(mut self, id: OrganizationId) -> Self {
        self.organization_id = Some(id);
        self
    }

    /// Sets the target.
    pub fn with_resource<K>(mut self, id: Id<K>) -> Self {
        self.resource_id = Some(id.uuid());
        self
    }
}

/// An entry of the audit log of an organization.
#[derive(Debug, Clone)]
pub struct OrganizationAuditEvent {
    /// The event.
    pub event: AuditEvent,
    /// The user who acted, also through an API key.
    pub user_id: UserId,
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
    /// `OK`, or the reason of the error.
    pub result: String,
    /// The session that acted, or that the action began.
    pub session_id: Option<SessionId>,
    /// The API key that acted.
    pub api_key_id: Option<ApiKeyId>,
    /// The target, unless it was the account itself.
    pub resource_id: Option<Uuid>,
    /// The caller's address and user agent.
    pub origin: RequestOrigin,
}
