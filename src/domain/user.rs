use super::{Time, UserId};

/// A person's account.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The e-mail address, as typed at sign-up.
    pub email: String,
    /// Whether the person has proved to own the address.
    pub email_verified: bool,
    /// The person's name for display.
    pub display_name: String,
    /// When it was created.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
}
