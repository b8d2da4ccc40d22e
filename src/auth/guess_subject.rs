use crate::{
    domain::{GuessSubject, Origin, SessionId},
    random::sha256,
};

impl GuessSubject {
    /// A sign-in to the account of an address in lower case. The caller's address,
    /// if it is IPv6, counts by its /64, within which a host changes it as it likes.
    pub fn of_sign_in(email_key: &str, origin: &Origin) -> Self {
        Self {
            main: subject("account", email_key),
            at_address: Some(at_address(email_key, origin)),
        }
    }

    /// A password that is given within a session.
    pub fn of_session(id: SessionId) -> Self {
        Self {
            main: subject("session", &id.to_string()),
            at_address: None,
        }
    }
}

/// An account at an address: what becomes familiar when its owner shows up there.
pub fn at_address(email_key: &str, origin: &Origin) -> Vec<u8> {
    let network = origin.peer_address.map(|peer| peer.network().to_string());
    let network = network.unwrap_or_default();
    subject("address", &format!("{email_key}\n{network}"))
}

fn subject(kind: &str, what: &str) -> Vec<u8> {
    sha256(&format!("{kind}\n{what}"))
}
