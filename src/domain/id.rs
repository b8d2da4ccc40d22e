use std::{cmp::Ordering, fmt, hash, marker::PhantomData};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Invalid, invalid::refuse};

/// The id of a resource of kind `K`: a UUIDv7, so ids sort by creation time.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Id<K> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

/// Uninhabited types that keep the ids of different resources apart.
///
/// The resources themselves would serve, but this file would then import every one of them.
mod kind {
    pub enum User {}
    pub enum Organization {}
    pub enum Invitation {}
    pub enum Session {}
    pub enum ApiKey {}
    pub enum AuditEvent {}
    pub enum Project {}
    pub enum Destination {}
    pub enum Stream {}
    pub enum Refusal {}
    pub enum SecondFactor {}
    pub enum Webhook {}
    pub enum WebhookDelivery {}
    pub enum UsageRecord {}
}

/// Identifies a user.
pub type UserId = Id<kind::User>;
/// Identifies an organization.
pub type OrganizationId = Id<kind::Organization>;
/// Identifies an invitation to an organization.
pub type InvitationId = Id<kind::Invitation>;
/// Identifies a session.
pub type SessionId = Id<kind::Session>;
/// Identifies an API key.
pub type ApiKeyId = Id<kind::ApiKey>;
/// Identifies an entry of the audit log.
pub type AuditEventId = Id<kind::AuditEvent>;
/// Identifies a project.
pub type ProjectId = Id<kind::Project>;
/// Identifies a destination.
pub type DestinationId = Id<kind::Destination>;
/// Identifies a stream.
pub type StreamId = Id<kind::Stream>;
/// Identifies a refused publish.
pub type RefusalId = Id<kind::Refusal>;
/// Identifies a second factor.
pub type SecondFactorId = Id<kind::SecondFactor>;
/// Identifies a webhook.
pub type WebhookId = Id<kind::Webhook>;
/// Identifies an event that was sent to a webhook.
pub type WebhookDeliveryId = Id<kind::WebhookDelivery>;
/// Identifies a record of usage.
pub type UsageRecordId = Id<kind::UsageRecord>;

impl OrganizationId {
    /// The personal organization of a user, which has the id of the user.
    pub fn personal(user: UserId) -> Self {
        Self::from(user.uuid())
    }
}

impl<K> Id<K> {
    /// A new id, greater than all ids this machine has generated before.
    pub fn generate() -> Self {
        Self::from(Uuid::now_v7())
    }

    /// Parses the hyphenated form, in either case.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(Self::from(uuid)),
            _ if text.is_empty() => refuse("must not be empty"),
            _ => refuse("must be a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057"),
        }
    }

    /// The UUID without its kind.
    pub fn uuid(self) -> Uuid {
        self.uuid
    }
}

impl<K> From<Uuid> for Id<K> {
    fn from(uuid: Uuid) -> Self {
        Self {
            uuid,
            kind: PhantomData,
        }
    }
}

// Derived implementations would require the same of `K`.

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Id<K> {}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uuid.cmp(&other.uuid)
    }
}

impl<K> hash::Hash for Id<K> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}

/// A page of a list. Lists are ordered from the newest id to the oldest.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The page size: 1 to 200.
    pub size: usize,
    /// Only ids below this one; the greatest UUID for the first page.
    pub below: Uuid,
}

impl Page {
    /// Only ids above this one, in a list whose ids ascend. Its page tokens have the complement
    /// of an id.
    pub fn above(&self) -> Uuid {
        Uuid::from_u128(!self.below.as_u128())
    }

    /// The number of rows to read: one more than the page size, to detect another page.
    pub fn limit(&self) -> i64 {
        let size = i64::try_from(self.size).unwrap_or(i64::MAX);
        size.saturating_add(1)
    }
}
