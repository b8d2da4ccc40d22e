use super::Time;

text_enum! {
    /// What a key is used for.
    pub enum KeyPurpose {
        /// Signs access tokens.
        Sign = "sign",
        /// Seals secrets at rest.
        Seal = "seal",
    }
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

impl KeyRecord {
    /// Whether it is not needed any more, and must not be accepted.
    pub fn is_retired(&self, now: Time) -> bool {
        self.retire_time.is_some_and(|time| time <= now)
    }

    /// Whether it is a root key that every server must have in its settings.
    pub fn is_needed_root(&self, now: Time) -> bool {
        self.purpose == KeyPurpose::Seal && self.secret_sealed.is_none() && !self.is_retired(now)
    }
}
