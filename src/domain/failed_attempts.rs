use std::time::Duration;

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
    pub(crate) at_address: Option<Vec<u8>>,
}
