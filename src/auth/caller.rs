use std::fmt;

use tonic::Request;
use uuid::Uuid;

use super::Permit;
use crate::{
    domain::{Act, ApiKey, ApiKeyId, Origin, Scopes, SessionId, Tenant, UserId},
    error::{Error, Result},
};

/// Who makes a call, as its access token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub subject: Subject,
    /// What the token may be used for.
    pub scopes: Scopes,
}

/// Who an access token was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A user who signed in.
    User {
        /// The user.
        user: UserId,
        /// The sign-in.
        session: SessionId,
    },
    /// A program that acts for a user.
    Program {
        /// The user.
        user: UserId,
        /// The program's key.
        key: ApiKeyId,
        /// Whether the key is restricted to some of the user's projects.
        restricted: bool,
    },
    /// A part of this system: a media server or a relay worker.
    Operator {
        /// Its key.
        key: ApiKeyId,
    },
}

impl Subject {
    /// For whom a program acts that has this key.
    pub fn of_key(key: &ApiKey) -> Self {
        match key.user_id {
            Some(user) => Self::Program {
                user,
                key: key.id,
                restricted: key.restricted,
            },
            None => Self::Operator { key: key.id },
        }
    }
}

impl Caller {
    /// The caller of a request. Fails closed where the interceptor did not run.
    pub fn of<T>(request: &Request<T>) -> Result<Self> {
        let permit = request.extensions().get::<Permit>();
        permit.map(Permit::caller).ok_or(Error::AccessTokenMissing)
    }

    /// Whose data the caller may touch.
    pub fn tenant(&self) -> Result<Tenant> {
        match self.subject {
            Subject::User { user, .. } => Ok(Tenant {
                user,
                restricted_to: None,
            }),
            Subject::Program {
                user,
                key,
                restricted,
            } => Ok(Tenant {
                user,
                restricted_to: restricted.then_some(key),
            }),
            Subject::Operator { .. } => Err(Error::SessionRequired),
        }
    }

    /// What the caller does, for the audit log of the user for whom it acts.
    pub fn act(&self, action: &'static str, origin: Origin) -> Act {
        let (user_id, session_id, api_key_id) = match self.subject {
            Subject::User { user, session } => (Some(user), Some(session), None),
            Subject::Program { user, key, .. } => (Some(user), None, Some(key)),
            Subject::Operator { key } => (None, None, Some(key)),
        };
        Act {
            action,
            user_id,
            session_id,
            api_key_id,
            resource_id: None,
            origin,
        }
    }

    /// What the token was made from: a session, or an API key. Its `sid` claim.
    pub fn token_source(&self) -> Uuid {
        match self.subject {
            Subject::User { session, .. } => session.uuid(),
            Subject::Program { key, .. } | Subject::Operator { key } => key.uuid(),
        }
    }

    /// The user who signed in; `SessionRequired` for programs.
    pub fn session(&self) -> Result<(UserId, SessionId)> {
        match self.subject {
            Subject::User { user, session } => Ok((user, session)),
            Subject::Program { .. } | Subject::Operator { .. } => Err(Error::SessionRequired),
        }
    }
}

/// For the log: what kind of caller, and its id.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::User { user, .. } => write!(f, "user:{user}"),
            Subject::Program { key, .. } => write!(f, "api_key:{key}"),
            Subject::Operator { key } => write!(f, "operator:{key}"),
        }
    }
}
