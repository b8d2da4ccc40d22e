use std::time::Duration;

use crate::{
    domain::{RequestOrigin, SessionId, UserId},
    random::{hex, sha256},
};

/// How many wrong passwords cause no delay.
const FREE_ATTEMPTS: i64 = 5;

/// The delay after each further wrong password, in seconds. The last one repeats.
const DELAYS_SECONDS: [u64; 6] = [1, 3, 5, 10, 30, 60];

/// The delay before the next sign-in attempt, with the number of failures from which it applies.
///
/// The delays grow, so that guessing is slow, but stay short, so that nobody can be locked out
/// of an account (OWASP ASVS 5.0, 6.1.1 and 6.3.1).
pub fn retry_delays() -> impl Iterator<Item = (i64, Duration)> {
    (FREE_ATTEMPTS..).zip(DELAYS_SECONDS.map(Duration::from_secs))
}

/// What failed attempts are counted for: hashes of an account, which may not exist, or a session.
#[derive(Debug)]
pub struct AttemptSubject {
    /// The account or the session.
    pub(crate) main: Vec<u8>,
    /// For a sign-in: the account together with the caller's address.
    pub(crate) at_address: Option<AttemptAtAddress>,
}

/// The subject of an attempt at an address from which the owner of the account has signed in.
#[derive(Debug)]
pub(crate) struct AttemptAtAddress {
    /// The account together with the address, as [`account_at_address`] returns it.
    pub familiar: Vec<u8>,
    /// What the attempt is counted for if that is familiar.
    pub counted: Vec<u8>,
}

impl AttemptSubject {
    /// A sign-in to the account of a lower-case e-mail address.
    pub fn of_sign_in(email_key: &str, origin: &RequestOrigin) -> Self {
        let at_address = account_at_address(email_key, origin);
        Self {
            main: subject("account", email_key),
            at_address: Some(AttemptAtAddress {
                counted: at_address.clone(),
                familiar: at_address,
            }),
        }
    }

    /// A check of a code of the second factor of a user with a lower-case e-mail address.
    ///
    /// It is counted apart from passwords: the right password, which comes first, clears only
    /// their count.
    pub fn of_second_factor(id: UserId, email_key: &str, origin: &RequestOrigin) -> Self {
        let familiar = account_at_address(email_key, origin);
        let (id, address) = (id.to_string(), hex(&familiar));
        Self {
            main: subject("second factor", &id),
            at_address: Some(AttemptAtAddress {
                counted: subject("second factor", &format!("{id}\n{address}")),
                familiar,
            }),
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
