use super::Time;

/// What a key is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Signs access tokens.
    Sign,
    /// Seals secrets at rest.
    Seal,
}

/// The database's record of a key, by which all replicas agree when it is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// What it is used for.
    pub purpose: KeyPurpose,
    /// The `kid` of a signing key, or the id of a sealing key in hexadecimal.
    pub id: String,
    /// The key, sealed under a root key; `None` if it is in the settings.
    pub secret_sealed: Option<Vec<u8>>,
    /// When it was generated. The newest active key signs or seals.
    pub create_time: Time,
    /// When it becomes active.
    pub active_time: Time,
    /// When it is not needed any more, if that is known.
    pub retire_time: Option<Time>,
}

impl KeyPurpose {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Seal => "seal",
        }
    }

    /// Parses the name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Sign, Self::Seal]
            .into_iter()
            .find(|purpose| purpose.as_str() == name)
    }
}

impl KeyRecord {
    /// Whether it is not needed any more, and must not be accepted.
    pub fn is_retired(&self, now: Time) -> bool {
        self.retire_time.is_some_and(|time| time <= now)
    }
}
