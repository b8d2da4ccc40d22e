use super::Time;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Signs access tokens.
    Sign,
    /// Seals secrets at rest.
    Seal,
}

/// What is kept of a key, so that all replicas agree on when it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// The `kid` of a signing key; the id of a sealing key in hexadecimal digits.
    pub id: String,
    /// The key, sealed under a root key; `None` if it stands in the settings.
    pub secret_sealed: Option<Vec<u8>>,
    /// When it was made: the newest active key signs or seals.
    pub create_time: Time,
    /// From when it signs or seals.
    pub active_time: Time,
    /// From when it is not needed any more.
    pub retire_time: Option<Time>,
}

impl KeyPurpose {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Seal => "seal",
        }
    }

    /// The purpose with a name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Sign, Self::Seal]
            .into_iter()
            .find(|purpose| purpose.as_str() == name)
    }
}

impl KeyRecord {
    /// Whether it is not needed any more.
    pub fn is_retired(&self, now: Time) -> bool {
        self.retire_time.is_some_and(|time| time <= now)
    }
}
