use std::time::Duration;

use chrono::TimeDelta;

use super::{Id, Time};

/// How long after the first failure the next attempt comes.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// How long the wait becomes at most.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// After which time a message that could not be sent is given up.
const WORTH_SENDING: TimeDelta = TimeDelta::hours(24);

/// Why a message is sent, and what the token in it is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailKind {
    /// So that the owner of an address proves that it is theirs.
    EmailVerification,
    /// So that the owner of an account gets a new password.
    PasswordReset,
}

impl EmailKind {
    const ALL: [Self; 2] = [Self::EmailVerification, Self::PasswordReset];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmailVerification => "email_verification",
            Self::PasswordReset => "password_reset",
        }
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// How long the token works.
    pub const fn token_lifetime(self) -> TimeDelta {
        match self {
            Self::EmailVerification => TimeDelta::hours(24),
            Self::PasswordReset => TimeDelta::minutes(30),
        }
    }
}

/// A message that is to be sent to an address, which may have no account.
#[derive(Debug, Clone)]
pub struct EmailMessage {
    /// Its id.
    pub id: EmailMessageId,
    /// Why it is sent.
    pub kind: EmailKind,
    /// The address in lower case.
    pub email_key: String,
    /// When it was asked for.
    pub create_time: Time,
    /// How often it was tried, with the attempt that goes on.
    pub attempts: i64,
}

/// Identifies a message.
pub type EmailMessageId = Id<EmailMessage>;

impl EmailMessage {
    /// Whether it is too late for another attempt.
    pub fn is_stale(&self, now: Time) -> bool {
        self.create_time + WORTH_SENDING <= now
    }

    /// How long to wait after an attempt that failed: 30 s, then twice as long
    /// each time, up to an hour; and up to a quarter more, by a chance from 0 to 1.
    pub fn wait(&self, chance: f64) -> Duration {
        let doublings = u32::try_from(self.attempts.clamp(1, 16) - 1).unwrap_or_default();
        let wait = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
        wait.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::{EmailKind, EmailMessage, EmailMessageId};
    use crate::domain::now;

    fn letter(attempts: i64) -> EmailMessage {
        EmailMessage {
            id: EmailMessageId::generate(),
            kind: EmailKind::PasswordReset,
            email_key: "ada@example.com".to_owned(),
            create_time: now(),
            attempts,
        }
    }

    #[test]
    fn the_waits_double_up_to_an_hour() {
        let waits = [1, 2, 3, 7, 8, 9, 60, i64::MAX].map(|n| letter(n).wait(0.0).as_secs());
        assert_eq!(waits, [30, 60, 120, 1920, 3600, 3600, 3600, 3600]);
    }

    #[test]
    fn chance_adds_up_to_a_quarter() {
        assert_eq!(letter(2).wait(1.0).as_secs(), 75);
        assert_eq!(letter(9).wait(0.5).as_secs(), 4050);
    }

    #[test]
    fn a_message_is_worth_sending_for_a_day() {
        let letter = letter(1);
        let day = letter.create_time + TimeDelta::hours(24);
        assert!(letter.is_stale(day));
        assert!(!letter.is_stale(day - TimeDelta::seconds(1)));
    }
}
