use super::{PasskeyId, Time};

/// A registered passkey of a user.
#[derive(Debug, Clone)]
pub struct Passkey {
    /// Its id.
    pub id: PasskeyId,
    /// The user's name for it.
    pub display_name: String,
    /// Whether it is synchronised to other devices, according to its last use.
    pub backed_up: bool,
    /// When it was registered.
    pub create_time: Time,
    /// When it was last used.
    pub last_used_time: Option<Time>,
}
