use std::time::Duration;

use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Caller, Subject};
use crate::domain::{NodeId, OrganizationId, Scopes, Time};

/// How far `nbf` may be in the future, in seconds: a replica may know the database's clock only
/// roughly for a moment. A token is never accepted from its `exp` on.
pub const LEEWAY_SECONDS: u64 = 5;

/// The settings of access tokens.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim.
    pub audience: String,
    /// The time from `iat` to `exp`.
    pub lifetime: Duration,
}

impl TokenSettings {
    /// The validation of tokens of an algorithm: every claim is required. [`Claims::are_valid`]
    /// checks the times, because this validation knows only the machine's clock.
    pub(super) fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    }
}

/// The claims of an access token (RFC 9068 section 2.2). All are required except the
/// one that only a session's token has, and the four that only an API key's token has.
#[derive(Serialize, Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    /// The user, or an operator's key.
    sub: Uuid,
    /// The session, or the API key.
    sid: Uuid,
    scope: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
    /// When the user last proved who they are, in tokens of sessions (RFC 9068 section 2.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    /// The API key, in tokens of API keys (RFC 9068 section 2.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<Uuid>,
    /// Whether that API key is restricted to some projects.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    restricted: bool,
    /// The organization of that API key, if it is not the personal one of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization_id: Option<Uuid>,
    /// The media server that an operator key is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
}

impl Claims {
    /// The claims of a new token for a caller.
    pub fn of(caller: &Caller, settings: &TokenSettings, now: Time, expire_time: Time) -> Self {
        let (sub, sid, client_id, restricted) = match caller.subject {
            Subject::User { user, session, .. } => (user.uuid(), session.uuid(), None, false),
            Subject::Program {
                user,
                key,
                restricted,
                ..
            } => (user.uuid(), key.uuid(), Some(key.uuid()), restricted),
            Subject::Operator { key, .. } => (key.uuid(), key.uuid(), Some(key.uuid()), false),
        };
        Self {
            iss: settings.issuer.clone(),
            aud: settings.audience.clone(),
            sub,
            sid,
            scope: caller.scopes.to_string(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            // Whole seconds, rounded up.
            exp: (expire_time + TimeDelta::microseconds(999_999)).timestamp(),
            jti: Uuid::now_v7(),
            auth_time: caller.auth_time().map(|time| time.timestamp()),
            client_id,
            restricted,
            organization_id: caller.organization().map(OrganizationId::uuid),
            node_id: caller.bound_node().map(ToString::to_string),
        }
    }

    /// Whether a token with these claims is valid at a time.
    pub fn are_valid(&self, now: Time) -> bool {
        let (now, leeway) = (now.timestamp(), LEEWAY_SECONDS.cast_signed());
        now < self.exp && self.nbf <= now.saturating_add(leeway)
    }

    /// The expiry of the token; `None` if it is out of range.
    pub fn expire_time(&self) -> Option<Time> {
        Time::from_timestamp(self.exp, 0)
    }

    /// The caller that a verified token names; `None` if its node is malformed.
    pub fn caller(&self) -> Option<Caller> {
        let node = self.node_id.as_deref().map(NodeId::parse);
        let node = node.transpose().ok()?;
        let subject = match self.client_id {
            None => Subject::User {
                user: self.sub.into(),
                session: self.sid.into(),
                auth_time: self
                    .auth_time
                    .and_then(|time| Time::from_timestamp(time, 0)),
            },
            Some(key) if key == self.sub => Subject::Operator {
                key: key.into(),
                node,
            },
            Some(key) => Subject::Program {
                user: self.sub.into(),
                key: key.into(),
                restricted: self.restricted,
                organization: self.organization_id.map(OrganizationId::from),
            },
        };
        Some(Caller {
            subject,
            scopes: Scopes::from_claim(&self.scope),
        })
    }
}
