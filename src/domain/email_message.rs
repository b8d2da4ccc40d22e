use std::time::Duration;

use chrono::TimeDelta;

use super::{Id, Time};
use crate::backoff::Backoff;

/// The delays between attempts, without jitter.
const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(60 * 60));

/// The age at which an unsent message is given up.
const MAX_AGE: TimeDelta = TimeDelta::hours(24);

text_enum! {
    /// The purpose of an e-mail message, and of the token in it if it has one.
    pub enum EmailKind {
        /// Proves that the account owner has the address.
        EmailVerification = "email_verification",
        /// Lets the account owner choose a new password.
        PasswordReset = "password_reset",
        /// Lets the account owner confirm or cancel a change of the address, at the current one.
        EmailChange = "email_change",
        /// The same at the new address.
        NewEmail = "new_email",
        /// Invites the user of the address to an organization.
        Invitation = "invitation",
        /// Tells of a sign-in from a new network.
        NewNetwork = "new_network",
        /// Tells of a new API key.
        NewApiKey = "new_api_key",
        /// Tells of a new second factor.
        NewSecondFactor = "new_second_factor",
        /// Tells of a removed second factor.
        RemovedSecondFactor = "removed_second_factor",
        /// Tells of a changed password.
        ChangedPassword = "changed_password",
        /// Tells of a webhook that the server has disabled.
        DisabledWebhook = "disabled_webhook",
    }
}

impl EmailKind {
    /// The lifetime of the token. The token of a notice is not sent: its row says only that a
    /// message of the kind was sent.
    pub const fn token_lifetime(self) -> TimeDelta {
        match self {
            Self::EmailVerification | Self::EmailChange | Self::NewEmail => TimeDelta::hours(24),
            // The invitation has a lifetime of its own.
            Self::Invitation => TimeDelta::days(7),
            Self::PasswordReset => TimeDelta::minutes(30),
            Self::NewNetwork
            | Self::NewApiKey
            | Self::NewSecondFactor
            | Self::RemovedSecondFactor
            | Self::ChangedPassword
            | Self::DisabledWebhook => TimeDelta::hours(1),
        }
    }
}

/// An e-mail message to be sent to an address, which may have no account.
#[derive(Debug, Clone)]
pub struct EmailMessage {
    /// The id.
    pub id: EmailMessageId,
    /// The purpose.
    pub kind: EmailKind,
    /// The address in lower case. For a new address, the current one of its account; for an
    /// invitation its id.
    pub email_key: String,
    /// The time of the request.
    pub create_time: Time,
    /// The number of attempts, including a running one.
    pub attempts: i64,
    /// What a notice says beside its kind: the network of a sign-in, the id of a webhook, or
    /// `passkey` for a second factor that is one. Empty for other messages.
    pub detail: String,
}

/// Identifies a message.
pub type EmailMessageId = Id<EmailMessage>;

impl EmailMessage {
    /// Whether the message is too old for another attempt.
    pub fn is_stale(&self, now: Time) -> bool {
        self.create_time + MAX_AGE <= now
    }

    /// The delay after a failed attempt: 30 s, doubled each time, at most an hour. `jitter`
    /// from 0 to 1 adds up to a quarter.
    pub fn retry_delay(&self, jitter: f64) -> Duration {
        let attempts = u32::try_from(self.attempts.max(1)).unwrap_or(u32::MAX);
        let delay = RETRY_BACKOFF.ceiling(attempts);
        delay.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::{EmailKind, EmailMessage, EmailMessageId};
    use crate::domain::now;

    fn message(attempts: i64) -> EmailMessage {
        EmailMessage {
            id: EmailMessageId::generate(),
            kind: EmailKind::PasswordReset,
            email_key: "ada@example.com".to_owned(),
            create_time: now(),
            attempts,
            detail: String::new(),
        }
    }

    #[test]
    fn retry_delays_double_up_to_an_hour() {
        let delays =
            [1, 2, 3, 7, 8, 9, 60, i64::MAX].map(|n| message(n).retry_delay(0.0).as_secs());
        assert_eq!(delays, [30, 60, 120, 1920, 3600, 3600, 3600, 3600]);
    }

    #[test]
    fn jitter_adds_up_to_a_quarter() {
        assert_eq!(message(2).retry_delay(1.0).as_secs(), 75);
        assert_eq!(message(9).retry_delay(0.5).as_secs(), 4050);
    }

    #[test]
    fn a_message_is_stale_after_a_day() {
        let message = message(1);
        let day = message.create_time + TimeDelta::hours(24);
        assert!(message.is_stale(day));
        assert!(!message.is_stale(day - TimeDelta::seconds(1)));
    }
}
