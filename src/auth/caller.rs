use std::{fmt, time::Duration};

use uuid::Uuid;

use crate::{
    domain::{
        ApiKey, ApiKeyId, AuditContext, NodeId, OrganizationId, RequestOrigin, Role, Scope, Scopes,
        SessionId, Tenant, Time, UserId,
    },
    error::{Error, Result},
};

/// The caller of an RPC, as its access token names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user, program or operator.
    pub subject: Subject,
    /// The scopes of the token.
    pub scopes: Scopes,
}

/// The subject of an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A user who signed in.
    User {
        /// The user.
        user: UserId,
        /// The session of the sign-in.
        session: SessionId,
        /// When the user last proved who they are; `None` in tokens of earlier versions.
        auth_time: Option<Time>,
    },
    /// A program that calls with a user's API key.
    Program {
        /// The user.
        user: UserId,
        /// The API key.
        key: ApiKeyId,
        /// Whether the key is restricted to some of the projects.
        restricted: bool,
        /// The organization of the key, if it is not the personal one of the user.
        organization: Option<OrganizationId>,
    },
    /// A media server, a relay worker or an operator.
    Operator {
        /// The operator key.
        key: ApiKeyId,
        /// The media server that the key is bound to; `None` means all.
        node: Option<NodeId>,
    },
}

impl Subject {
    /// The subject of the tokens of an API key.
    pub fn of_key(key: &ApiKey) -> Self {
        match key.user_id {
            Some(user) => Self::Program {
                user,
                key: key.id,
                restricted: key.restricted,
                organization: key.organization_id,
            },
            None => Self::Operator {
                key: key.id,
                node: key.node_id.clone(),
            },
        }
    }
}

impl Caller {
    /// The tenant whose data the caller may access with this role at least; `SessionRequired` for
    /// operators.
    pub fn tenant(&self, role: Role) -> Result<Tenant> {
        let (user, key, restricted, organization) = match self.subject {
            Subject::User { user, .. } => (user, None, false, None),
            Subject::Program {
                user,
                key,
                restricted,
                organization,
            } => (user, Some(key), restricted, organization),
            Subject::Operator { .. } => return Err(Error::SessionRequired),
        };
        Ok(Tenant {
            user,
            key,
            restricted,
            organization: organization.unwrap_or_else(|| OrganizationId::personal(user)),
            role,
        })
    }

    /// The operator key of a caller; `ScopeMissing` for users and their programs, whose tokens have
    /// no scope of operators.
    pub fn operator_key(&self) -> Result<ApiKeyId> {
        match self.subject {
            Subject::Operator { key, .. } => Ok(key),
            Subject::User { .. } | Subject::Program { .. } => {
                Err(Error::ScopeMissing(Scope::OperatorRead))
            }
        }
    }

    /// The organization of the caller's API key, if it is not the personal one of its user.
    pub(super) fn organization(&self) -> Option<OrganizationId> {
        match self.subject {
            Subject::Program { organization, .. } => organization,
            Subject::User { .. } | Subject::Operator { .. } => None,
        }
    }

    /// The media server that the caller's operator key is bound to; `None` means all.
    pub fn bound_node(&self) -> Option<&NodeId> {
        match &self.subject {
            Subject::Operator { node, .. } => node.as_ref(),
            Subject::User { .. } | Subject::Program { .. } => None,
        }
    }

    /// `NodeMismatch` if the caller's operator key is bound to another media server than this one.
    pub fn require_node(&self, node_id: &str) -> Result<()> {
        match self.bound_node() {
            Some(bound) if bound.as_str() != node_id => Err(Error::NodeMismatch(bound.clone())),
            _ => Ok(()),
        }
    }

    /// The audit context of an action of this caller.
    pub fn audit_context(&self, action: &'static str, origin: RequestOrigin) -> AuditContext {
        let (user_id, session_id, api_key_id) = match self.subject {
            Subject::User { user, session, .. } => (Some(user), Some(session), None),
            Subject::Program { user, key, .. } => (Some(user), None, Some(key)),
            Subject::Operator { key, .. } => (None, None, Some(key)),
        };
        AuditContext {
            action,
            user_id,
            session_id,
            api_key_id,
            resource_id: None,
            organization_id: None,
            origin,
        }
    }

    /// The id of the session or API key that the token was issued for: its `sid` claim.
    pub fn token_source(&self) -> Uuid {
        match self.subject {
            Subject::User { session, .. } => session.uuid(),
            Subject::Program { key, .. } | Subject::Operator { key, .. } => key.uuid(),
        }
    }

    /// The user and session of a signed-in caller; `SessionRequired` for programs and operators.
    pub fn session(&self) -> Result<(UserId, SessionId)> {
        match self.subject {
            Subject::User { user, session, .. } => Ok((user, session)),
            Subject::Program { .. } | Subject::Operator { .. } => Err(Error::SessionRequired),
        }
    }

    /// When the user of a session last proved who they are.
    pub(super) fn auth_time(&self) -> Option<Time> {
        match self.subject {
            Subject::User { auth_time, .. } => auth_time,
            Subject::Program { .. } | Subject::Operator { .. } => None,
        }
    }

    /// `ReauthenticationRequired` if the user of a session last proved who they are longer ago than
    /// this. Zero means no limit. API keys are limited by their scopes instead.
    pub fn require_recent_authentication(&self, max_age: Duration, now: Time) -> Result<()> {
        let Subject::User { auth_time, .. } = self.subject else {
            return Ok(());
        };
        match auth_time {
            _ if max_age.is_zero() => Ok(()),
            Some(time) if now <= time + max_age => Ok(()),
            _ => Err(Error::ReauthenticationRequired),
        }
    }
}

/// The kind of caller and its id, for logs.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::User { user, .. } => write!(f, "user:{user}"),
            Subject::Program { key, .. } => write!(f, "api_key:{key}"),
            Subject::Operator { key, .. } => write!(f, "operator:{key}"),
        }
    }
}

#[cfg(test)]
impl Caller {
    /// A user with a new session and no scope.
    pub(super) fn signed_in(user: UserId) -> Self {
        let session = SessionId::generate();
        Self {
            subject: Subject::User {
                user,
                session,
                auth_time: None,
            },
            scopes: Scopes::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Caller, Subject};
    use crate::domain::{ApiKeyId, SessionId, UserId, now};

    fn user(auth_time: Option<crate::domain::Time>) -> Caller {
        let (user, session) = (UserId::generate(), SessionId::generate());
        Caller {
            subject: Subject::User {
                user,
                session,
                auth_time,
            },
            ..Caller::signed_in(user)
        }
    }

    #[test]
    fn an_authentication_is_recent_until_its_age_exceeds_the_limit() {
        let (now, limit) = (now(), Duration::from_secs(600));
        let is_recent = |caller: Caller, limit| {
            let required = caller.require_recent_authentication(limit, now);
            required.is_ok()
        };

        assert!(is_recent(user(Some(now - limit)), limit));
        assert!(!is_recent(
            user(Some(now - limit - Duration::from_secs(1))),
            limit
        ));
        // The clock of a replica may be behind.
        assert!(is_recent(user(Some(now + limit)), limit));
        // A token of an earlier version does not say it.
        assert!(!is_recent(user(None), limit));
        assert!(is_recent(user(None), Duration::ZERO));
        let subject = Subject::Program {
            user: UserId::generate(),
            key: ApiKeyId::generate(),
            restricted: false,
            organization: None,
        };
        let program = Caller {
            subject,
            ..user(None)
        };
        assert!(is_recent(program, limit));
    }
}
