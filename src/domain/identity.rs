use super::{Email, Name};

/// A person as another issuer knows them.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The issuer.
    pub issuer: String,
    /// What the issuer calls the person, and nobody else: 1 to 255 characters.
    pub subject: String,
    /// What an account can be made of; `None` if the issuer tells no address.
    pub profile: Option<Profile>,
}

/// What an issuer tells of a person.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The address.
    pub email: Email,
    /// Whether it is the person's, according to an issuer that is authoritative for it.
    pub email_proved: bool,
    /// What to call the person.
    pub display_name: Name,
}
