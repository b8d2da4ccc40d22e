use std::{fmt, hash, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::{ApiKey, Destination, Invalid, Project, Session, Stream, User};

/// The id of one noun: a UUIDv7, so that ids sort by the time they were made.
pub struct Id<T> {
    uuid: Uuid,
    noun: PhantomData<fn() -> T>,
}

/// Identifies a user.
pub type UserId = Id<User>;
/// Identifies a session.
pub type SessionId = Id<Session>;
/// Identifies an API key.
pub type ApiKeyId = Id<ApiKey>;
/// Identifies a project.
pub type ProjectId = Id<Project>;
/// Identifies a destination.
pub type DestinationId = Id<Destination>;
/// Identifies a stream.
pub type StreamId = Id<Stream>;

impl<T> Id<T> {
    /// A new id, greater than those made before it on this machine.
    pub fn generate() -> Self {
        Self::from(Uuid::now_v7())
    }

    /// Reads the hyphenated form, in either case.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(Self::from(uuid)),
            _ if text.is_empty() => Err(Invalid::because("must not be empty")),
            _ => Err(Invalid::because(
                "must be a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057",
            )),
        }
    }

    /// The bare UUID.
    pub fn uuid(self) -> Uuid {
        self.uuid
    }
}

impl<T> From<Uuid> for Id<T> {
    fn from(uuid: Uuid) -> Self {
        Self {
            uuid,
            noun: PhantomData,
        }
    }
}

impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.uuid.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::from)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}

impl<T> Eq for Id<T> {}

impl<T> hash::Hash for Id<T> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}
