use std::time::Duration;

/// How many attempts with a wrong password are free.
const FREE: i64 = 5;

/// How long to wait after the attempts that follow, in seconds; the last one stays.
const WAITS: [u64; 6] = [1, 3, 5, 10, 30, 60];

/// For each number of failures from which the wait is longer: that number, and the wait.
///
/// The waits grow, so that guessing is slow, but stay short, so that nobody can
/// be locked out (OWASP ASVS 5.0, 6.1.1 and 6.3.1).
pub fn waits_after_failures() -> impl Iterator<Item = (i64, Duration)> {
    (FREE..).zip(WAITS.map(Duration::from_secs))
}

/// What wrong passwords are counted for, hashed: an account, whether it exists or
/// not, or a session.
#[derive(Debug)]
pub struct GuessSubject {
    /// The account, or the session.
    pub(crate) main: Vec<u8>,
    /// The account at the caller's address, if it is a sign-in.
    pub(crate) at_address: Option<Vec<u8>>,
}
