use std::time::Duration;

use chrono::TimeDelta;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    auth::MailToken,
    database::Database,
    domain::{EmailKind, EmailMessage, InvitationId, now},
    error::{Result, with_causes},
    mail::MailSender,
    random::random_fraction,
    repositories::{IssuedToken, MailTokens, Organizations, Outbox, Recipient},
    telemetry::metrics::{JOBS, JobRun},
};

/// Messages claimed and sent at once.
const BATCH_SIZE: i64 = 8;

/// How long a message is claimed. It is longer than an attempt takes, and longer than the
/// minimum interval between two messages to a user, so that another replica resends the
/// message of a crashed one.
const CLAIM_LEASE: TimeDelta = TimeDelta::seconds(90);

/// The poll interval for retries and for messages of other replicas.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Sends the messages of the outbox.
///
/// Only the mailer looks up the account of an address: the response to the requester is
/// sent before and does not depend on it. The mailer also generates the token, so its
/// text exists only in the message.
#[derive(Debug, Clone)]
pub struct Mailer {
    database: Database,
    outbox: Outbox,
    tokens: MailTokens,
    sender: MailSender,
}

impl Mailer {
    /// A mailer for the outbox of this database.
    pub fn new(database: Database, outbox: Outbox, sender: MailSender) -> Self {
        Self {
            outbox,
            tokens: MailTokens::new(database.clone()),
            database,
            sender,
        }
    }

    /// Sends messages as they come; never returns.
    pub async fn run(self) {
        loop {
            let run = JobRun::start("mailer");
            let claimed = self.outbox.claim(BATCH_SIZE, CLAIM_LEASE, now()).await;
            run.finish(claimed.is_ok());
            match claimed {
                Ok(messages) if messages.is_empty() => self.wait_for_work().await,
                Ok(messages) => self.deliver_all(messages).await,
                Err(error) => {
                    tracing::warn!(error = error.with_causes(), "cannot read the outbox");
                    sleep(POLL_INTERVAL).await;
                }
            }
        }
    }

    async fn wait_for_work(&self) {
        tokio::select! {
            () = self.outbox.wait_for_message() => {}
            () = sleep(POLL_INTERVAL) => {}
        }
    }

    async fn deliver_all(&self, messages: Vec<EmailMessage>) {
        let mut deliveries = JoinSet::new();
        for message in messages {
            let mailer = self.clone();
            deliveries.spawn(async move {
                if let Err(error) = mailer.deliver(&message).await {
                    let error = error.with_causes();
                    tracing::warn!(message_id = %message.id, error, "cannot handle a message");
                }
            });
        }
        deliveries.join_all().await;
    }

    /// Stores the token of a message, if it may be sent.
    async fn issue(&self, message: &EmailMessage, hash: &[u8]) -> Result<IssuedToken> {
        if message.kind != EmailKind::Invitation {
            return self.tokens.issue(message, hash, now()).await;
        }
        let Ok(id) = InvitationId::parse(&message.email_key) else {
            return Ok(IssuedToken::Nobody);
        };
        let email = Organizations::issue_token(&self.database, id, hash, now()).await?;
        Ok(match email {
            Some(email) => IssuedToken::To(Recipient {
                email,
                user_id: None,
            }),
            None => IssuedToken::Nobody,
        })
    }

    async fn deliver(&self, message: &EmailMessage) -> Result<()> {
        let token = MailToken::generate();
        let recipient = match self.issue(message, &token.hash()).await? {
            IssuedToken::To(recipient) => recipient,
            IssuedToken::Nobody => return self.outbox.remove(message.id).await,
            IssuedToken::NotBefore(time) => return self.outbox.postpone(message.id, time).await,
        };
        let kind = message.kind.as_str();
        let user_id = recipient.user_id.map(tracing::field::display);

        let Err(failure) = self.sender.send(message, &recipient.email, &token).await else {
            JOBS.mail_attempt("sent");
            tracing::info!(kind, user_id, "message sent");
            return self.outbox.remove(message.id).await;
        };

        self.tokens.withdraw(&token.hash()).await?;
        let (error, attempts) = (with_causes(&*failure), message.attempts);
        if message.is_stale(now()) {
            JOBS.mail_attempt("given_up");
            tracing::warn!(kind, user_id, attempts, error, "message given up");
            return self.outbox.remove(message.id).await;
        }
        JOBS.mail_attempt("failed");
        let delay = message.retry_delay(random_fraction());
        let postponed = self.outbox.postpone(message.id, now() + delay).await;
        tracing::warn!(
            kind,
            user_id,
            attempts,
            ?delay,
            error,
            "cannot send a message yet"
        );
        postponed
    }
}
