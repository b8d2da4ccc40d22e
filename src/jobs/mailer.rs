use std::time::Duration;

use chrono::TimeDelta;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    auth::MailToken,
    database::Database,
    domain::{Letter, now},
    error::Result,
    mail::Post,
    random::random_fraction,
    repositories::{MailTokens, Outbox},
    telemetry::metrics::{self, BACKGROUND},
};

/// How many messages are sent at once.
const BATCH: i64 = 8;

/// For how long a message is this replica's: longer than an attempt takes, and
/// than nobody gets another one, so that one of a replica that died is repeated.
const LEASE: TimeDelta = TimeDelta::seconds(90);

/// How often to look for messages of other replicas, and those to be tried again.
const EVERY: Duration = Duration::from_secs(2);

/// Sends what is in the outbox.
///
/// Only here does an address meet an account: who asked for a message has long
/// had the answer. The token is made here too, and exists nowhere but in the message.
#[derive(Debug, Clone)]
pub struct Mailer {
    outbox: Outbox,
    tokens: MailTokens,
    post: Post,
}

impl Mailer {
    /// A mailer of this database's messages.
    pub fn new(database: Database, outbox: Outbox, post: Post) -> Self {
        Self {
            outbox,
            tokens: MailTokens::new(database),
            post,
        }
    }

    /// Sends again and again; never returns.
    pub async fn run(self) {
        loop {
            let run = metrics::job("mailer");
            let claimed = self.outbox.claim(BATCH, LEASE, now()).await;
            run.over(claimed.is_ok());
            match claimed {
                Ok(letters) if letters.is_empty() => self.rest().await,
                Ok(letters) => self.deliver_all(letters).await,
                Err(error) => {
                    let error = error.with_causes();
                    tracing::warn!(error, "cannot look for messages to be sent");
                    sleep(EVERY).await;
                }
            }
        }
    }

    async fn rest(&self) {
        tokio::select! {
            () = self.outbox.rung() => {}
            () = sleep(EVERY) => {}
        }
    }

    async fn deliver_all(&self, letters: Vec<Letter>) {
        let mut deliveries = JoinSet::new();
        for letter in letters {
            let mailer = self.clone();
            deliveries.spawn(async move {
                if let Err(error) = mailer.deliver(&letter).await {
                    let error = error.with_causes();
                    tracing::warn!(letter_id = %letter.id, error, "cannot handle a message");
                }
            });
        }
        deliveries.join_all().await;
    }

    async fn deliver(&self, letter: &Letter) -> Result<()> {
        let token = MailToken::generate();
        let issued = self.tokens.issue(letter, &token.hash(), now()).await?;
        let Some(user) = issued else {
            return self.outbox.remove(letter.id).await;
        };
        let (kind, user_id) = (letter.kind.as_str(), user.id);

        let Err(failure) = self.post.send(letter, &user, &token).await else {
            BACKGROUND.message("sent");
            tracing::info!(kind, %user_id, "message sent");
            return self.outbox.remove(letter.id).await;
        };

        self.tokens.withdraw(&token.hash()).await?;
        let (error, attempts) = (format!("{failure:#}"), letter.attempts);
        if letter.is_stale(now()) {
            BACKGROUND.message("given_up");
            tracing::warn!(kind, %user_id, attempts, error, "message given up");
            return self.outbox.remove(letter.id).await;
        }
        BACKGROUND.message("failed");
        let wait = letter.wait(random_fraction());
        tracing::warn!(kind, %user_id, attempts, ?wait, error, "cannot send a message yet");
        self.outbox.postpone(letter.id, now() + wait).await
    }
}
