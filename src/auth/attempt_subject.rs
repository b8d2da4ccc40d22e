use crate::{
    domain::{AttemptSubject, RequestOrigin, SessionId},
    random::sha256,
};

impl AttemptSubject {
    /// A sign-in to the account of a lower-case e-mail address.
    pub fn of_sign_in(email_key: &str, origin: &RequestOrigin) -> Self {
        Self {
            main: subject("account", email_key),
            at_address: Some(account_at_address(email_key, origin)),
        }
    }

    /// A password check within a session.
    pub fn of_session(id: SessionId) -> Self {
        Self {
            main: subject("session", &id.to_string()),
            at_address: None,
        }
    }
}

/// An account together with the caller's network address, hashed.
///
/// It becomes familiar when the owner of the account authenticates from there. An IPv6
/// address counts as its /64, within which a host can choose any address.
pub fn account_at_address(email_key: &str, origin: &RequestOrigin) -> Vec<u8> {
    let network = origin.peer_address.map(|peer| peer.network().to_string());
    let network = network.unwrap_or_default();
    subject("address", &format!("{email_key}\n{network}"))
}

fn subject(kind: &str, value: &str) -> Vec<u8> {
    sha256(&format!("{kind}\n{value}"))
}
