use super::{Time, UserId};

/// A person's account.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The address as typed at sign-up.
    pub email: String,
    /// Whether the owner of the address has proved it.
    pub email_verified: bool,
    /// What the person wants to be called.
    pub display_name: String,
    /// When it was created.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
}
