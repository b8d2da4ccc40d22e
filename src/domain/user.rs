use std::time::Duration;

use super::{Email, Name, RequestOrigin, SessionId, Time, UserId};

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

/// A requested change of the e-mail address of an account.
#[derive(Debug, Clone)]
pub struct EmailChange {
    /// The new address, as typed.
    pub new_email: String,
    /// When it was requested.
    pub create_time: Time,
    /// When the request ends.
    pub expire_time: Time,
    /// When the current address confirmed it.
    pub current_confirm_time: Option<Time>,
    /// When the new address confirmed it.
    pub new_confirm_time: Option<Time>,
}

impl EmailChange {
    /// Whether the current address has to confirm it. One that is not verified does not have to: it
    /// may be a stranger's.
    pub fn awaits_current_email(&self, user: &User) -> bool {
        user.email_verified && self.current_confirm_time.is_none()
    }

    /// Whether the new address has to confirm it.
    pub fn awaits_new_email(&self) -> bool {
        self.new_confirm_time.is_none()
    }
}

/// A person's identity at an OpenID Connect issuer.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The issuer.
    pub issuer: String,
    /// The issuer's unique name of the person: 1 to 255 characters.
    pub subject: String,
    /// The data for creating an account; `None` if the issuer gives no e-mail address.
    pub profile: Option<Profile>,
}

/// An issuer's data about a person.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The e-mail address.
    pub email: Email,
    /// Whether an issuer that is authoritative for the address has verified it.
    pub email_verified: bool,
    /// The name of the person.
    pub display_name: Name,
}

/// One sign-in of a user, until it expires or is revoked.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The user who signed in.
    pub user_id: UserId,
    /// The sealed seed of its refresh tokens.
    pub refresh_seed: Vec<u8>,
    /// The number of its newest refresh token.
    pub refresh_counter: i64,
    /// The client that signed in.
    pub origin: RequestOrigin,
    /// When it began.
    pub create_time: Time,
    /// When the user last proved who they are: at first when it began.
    pub auth_time: Time,
    /// When it was last refreshed.
    pub last_used_time: Time,
    /// When it ends, even if it is refreshed.
    pub expire_time: Time,
}

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub struct SessionTimeouts {
    /// The longest time between two refreshes.
    pub idle_timeout: Duration,
    /// The longest time in total.
    pub lifetime: Duration,
}

impl SessionTimeouts {
    /// When a session ends if it is not refreshed before.
    pub fn end_of(&self, session: &Session) -> Time {
        session
            .expire_time
            .min(session.last_used_time + self.idle_timeout)
    }
}
