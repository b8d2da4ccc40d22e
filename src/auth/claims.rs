use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Caller, Subject, TokenSettings};
use crate::domain::{Scopes, Time};

/// The claims of an access token (RFC 9068 section 2.2), all of them required
/// but those that only an API key's token has.
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
    /// The API key, if it is one that calls (RFC 9068 section 2.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<Uuid>,
    /// Whether that key is restricted to some projects.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    restricted: bool,
}

impl Claims {
    /// What a new token says of a caller.
    pub fn of(caller: &Caller, settings: &TokenSettings, now: Time, expire_time: Time) -> Self {
        let (sub, sid, client_id, restricted) = match caller.subject {
            Subject::User { user, session } => (user.uuid(), session.uuid(), None, false),
            Subject::Program {
                user,
                key,
                restricted,
            } => (user.uuid(), key.uuid(), Some(key.uuid()), restricted),
            Subject::Operator { key } => (key.uuid(), key.uuid(), Some(key.uuid()), false),
        };
        Self {
            iss: settings.issuer.clone(),
            aud: settings.audience.clone(),
            sub,
            sid,
            scope: caller.scopes.to_string(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: expire_time.timestamp(),
            jti: Uuid::now_v7(),
            client_id,
            restricted,
        }
    }

    /// When the token expires.
    pub fn expire_time(&self) -> Option<Time> {
        Time::from_timestamp(self.exp, 0)
    }

    /// The caller that a verified token speaks of.
    pub fn caller(&self) -> Caller {
        let subject = match self.client_id {
            None => Subject::User {
                user: self.sub.into(),
                session: self.sid.into(),
            },
            Some(key) if key == self.sub => Subject::Operator { key: key.into() },
            Some(key) => Subject::Program {
                user: self.sub.into(),
                key: key.into(),
                restricted: self.restricted,
            },
        };
        Caller {
            subject,
            scopes: Scopes::from_claim(&self.scope),
        }
    }
}
