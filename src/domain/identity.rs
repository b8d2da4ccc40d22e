use super::{Email, Name};

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
