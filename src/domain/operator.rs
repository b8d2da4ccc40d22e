//! What operators see and filter.

use super::{
    ApiKeyId, AuditEvent, CreateTimeRange, Email, NodeId, OrganizationId, Scopes, Stream, Time,
    User, UserId,
};

/// A key of a media server, a relay worker or an operator.
#[derive(Debug, Clone)]
pub struct OperatorKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The name that an operator gave it.
    pub display_name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// The media server that it is bound to; `None` means all.
    pub node_id: Option<NodeId>,
    /// When it was created.
    pub create_time: Time,
    /// When it expires, if ever.
    pub expire_time: Option<Time>,
    /// When it was last exchanged for an access token.
    pub last_used_time: Option<Time>,
    /// When it was revoked.
    pub revoke_time: Option<Time>,
    /// The operator key that created it; `None` if it was created at the database.
    pub creator_id: Option<ApiKeyId>,
}

text_enum! {
    /// Whether an operator key can be used.
    pub enum OperatorKeyState {
        /// It can be used.
        Active = "active",
        /// Its expiry has passed.
        Expired = "expired",
        /// It was revoked.
        Revoked = "revoked",
    }
}

impl OperatorKey {
    /// Whether the key can be used at a time.
    pub fn state(&self, now: Time) -> OperatorKeyState {
        match (self.revoke_time, self.expire_time) {
            (Some(_), _) => OperatorKeyState::Revoked,
            (None, Some(expiry)) if expiry <= now => OperatorKeyState::Expired,
            (None, _) => OperatorKeyState::Active,
        }
    }
}

text_enum! {
    /// Whether a user may use the account.
    pub enum UserState {
        /// The user can sign in and publish.
        Active = "active",
        /// An operator has suspended the account.
        Suspended = "suspended",
    }
}

/// The account of a user, as operators see it.
#[derive(Debug, Clone)]
pub struct UserAccount {
    /// The account.
    pub user: User,
    /// When it was suspended; `None` if it is active.
    pub suspend_time: Option<Time>,
    /// The number of the user's projects.
    pub project_count: i64,
    /// The number of their streams that have not ended.
    pub live_stream_count: i64,
}

impl UserAccount {
    /// Whether the user may use the account.
    pub fn state(&self) -> UserState {
        match self.suspend_time {
            Some(_) => UserState::Suspended,
            None => UserState::Active,
        }
    }
}

/// Which accounts a list contains.
#[derive(Debug, Clone)]
pub struct UserFilter {
    /// The account with this address.
    pub email: Option<Email>,
    /// Accounts in this state.
    pub state: Option<UserState>,
    /// Accounts that were created then.
    pub created: CreateTimeRange,
}

text_enum! {
    /// Whether an organization may be used.
    pub enum OrganizationState {
        /// Its members can use it.
        Active = "active",
        /// An operator has suspended it.
        Suspended = "suspended",
    }
}

/// An organization that is not a personal one, as operators see it.
#[derive(Debug, Clone)]
pub struct OrganizationAccount {
    /// Its id.
    pub id: OrganizationId,
    /// Its name.
    pub display_name: String,
    /// When it was created.
    pub create_time: Time,
    /// When it was suspended; `None` if it is active.
    pub suspend_time: Option<Time>,
    /// The number of its members.
    pub member_count: i64,
    /// The number of its projects.
    pub project_count: i64,
    /// The number of their streams that have not ended.
    pub live_stream_count: i64,
}

impl OrganizationAccount {
    /// Whether it may be used.
    pub fn state(&self) -> OrganizationState {
        match self.suspend_time {
            Some(_) => OrganizationState::Suspended,
            None => OrganizationState::Active,
        }
    }
}

/// Which organizations a list contains.
#[derive(Debug, Clone)]
pub struct OrganizationAccountFilter {
    /// Organizations of which this user is a member.
    pub user_id: Option<UserId>,
    /// Organizations in this state.
    pub state: Option<OrganizationState>,
    /// Organizations that were created then.
    pub created: CreateTimeRange,
}

/// A stream that has not ended, with its owner.
#[derive(Debug, Clone)]
pub struct OperatorLiveStream {
    /// The stream.
    pub stream: Stream,
    /// The organization that owns its project.
    pub organization_id: OrganizationId,
    /// Whether that is a personal one, which has the id of its user.
    pub personal: bool,
    /// The name of its project.
    pub project_name: String,
    /// The number of its relays that a worker holds.
    pub relay_count: i64,
}

/// An audit event with its account and its actor.
#[derive(Debug, Clone)]
pub struct OperatorAuditEvent {
    /// The event.
    pub event: AuditEvent,
    /// The account that it concerns.
    pub user_id: Option<UserId>,
    /// The name of the operator key that acted; `None` if no operator key did.
    pub operator_key_name: Option<String>,
}

/// Which audit events a list contains.
#[derive(Debug, Clone)]
pub struct AuditFilter {
    /// Events of this account.
    pub user_id: Option<UserId>,
    /// Events in which this operator key acted.
    pub api_key_id: Option<ApiKeyId>,
    /// This action.
    pub action: Option<String>,
    /// Events of that time.
    pub created: CreateTimeRange,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::{OperatorKey, OperatorKeyState};
    use crate::domain::{ApiKeyId, Scopes, now};

    #[test]
    fn a_revoked_key_is_revoked_whether_or_not_it_has_expired() {
        let now = now();
        let key = |expire_time, revoke_time| OperatorKey {
            id: ApiKeyId::generate(),
            display_name: String::new(),
            scopes: Scopes::default(),
            node_id: None,
            create_time: now,
            expire_time,
            last_used_time: None,
            revoke_time,
            creator_id: None,
        };
        let later = now + TimeDelta::seconds(1);
        for (expire_time, revoke_time, state) in [
            (None, None, OperatorKeyState::Active),
            (Some(later), None, OperatorKeyState::Active),
            (Some(now), None, OperatorKeyState::Expired),
            (Some(now), Some(now), OperatorKeyState::Revoked),
            (Some(later), Some(now), OperatorKeyState::Revoked),
        ] {
            assert_eq!(key(expire_time, revoke_time).state(now), state);
        }
    }
}
