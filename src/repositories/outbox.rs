use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::Notify;

use crate::{
    database::{Batch, Database, DeletedBatch, Pools, Transaction},
    domain::{Email, EmailKind, EmailMessage, EmailMessageId, Time, UserId},
    error::Result,
};

/// The queue of e-mail messages. A clone shares the wake-ups.
#[derive(Debug, Clone)]
pub struct Outbox {
    database: Database,
    wakeup: Arc<Notify>,
}

/// Claims at most `$3` messages that are due at `$1`, until `$2`.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "update outbox
             set attempts = attempts + 1, next_attempt_time = $2
             where id in (
                 select id
                 from outbox
                 where next_attempt_time <= $1
                 order by next_attempt_time
                 limit $3 ",
            $lock,
            ") returning id, kind, email_key, create_time, attempts, detail"
        )
    };
}

impl Outbox {
    /// The outbox in this database.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            wakeup: Arc::default(),
        }
    }

    /// Queues the message of a password reset to an address, whether it has an account or
    /// not. Does nothing if one is queued.
    pub async fn add_reset(&self, email: &Email, now: Time) -> Result<()> {
        // A conflict writes too. Otherwise a faster answer to a second request would reveal
        // that the address has an account, while the first message is queued.
        execute!(
            self.database.writer(),
            "insert into outbox (id, kind, email_key, create_time, attempts, next_attempt_time)
             values ($1, $2, $3, $4, 0, $4)
             on conflict (email_key, kind) do update set kind = excluded.kind",
            [
                EmailMessageId::generate(),
                EmailKind::PasswordReset.as_str(),
                email.key(),
                now
            ]
        )?;
        self.wake_sender();
        Ok(())
    }

    /// Queues a message that lets a user verify their address. Does nothing if the address
    /// is verified or a message is queued.
    pub async fn add_verification(&self, user_id: UserId, now: Time) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                add_verification(&mut tx, user_id, now).await?;
                tx.commit(()).await?;
                self.wake_sender();
                Ok(())
            })
            .await
    }

    /// Wakes the sender of this process.
    pub fn wake_sender(&self) {
        self.wakeup.notify_one();
    }

    /// Waits until this process queues a message.
    pub async fn wait_for_message(&self) {
        self.wakeup.notified().await;
    }

    /// Claims at most `limit` messages that are due. They are due again after the lease.
    pub async fn claim(
        &self,
        limit: i64,
        lease: TimeDelta,
        now: Time,
    ) -> Result<Vec<EmailMessage>> {
        // Replicas that claim concurrently do not wait for each other. SQLite has one writer.
        let sql = match &self.database.pools {
            Pools::Postgres { .. } => claim!("for update skip locked"),
            Pools::Sqlite { .. } => claim!(""),
        };
        fetch_all!(self.database.writer(), sql, [now, now + lease, limit])
    }

    /// Postpones a message that could not be sent.
    pub async fn postpone(&self, id: EmailMessageId, until: Time) -> Result<()> {
        execute!(
            self.database.writer(),
            "update outbox set next_attempt_time = $2 where id = $1",
            [id, until]
        )
    }

    /// Deletes a message that was sent, or must not be sent.
    pub async fn remove(&self, id: EmailMessageId) -> Result<()> {
        execute!(
            self.database.writer(),
            "delete from outbox where id = $1",
            [id]
        )
    }

    /// Deletes a batch of unsent messages from before a time.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from outbox
             where id in (
                 select id
                 from outbox
                 where create_time < $1
                 order by id
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}

/// Queues a message with which a user verifies their address, in the transaction that makes
/// it necessary.
pub(crate) async fn add_verification(
    tx: &mut Transaction,
    user_id: UserId,
    now: Time,
) -> Result<()> {
    execute!(
        tx,
        "insert into outbox (id, kind, email_key, create_time, attempts, next_attempt_time)
         select $1, $2, email_key, $3, 0, $3
         from users
         where id = $4 and not email_verified
         on conflict (email_key, kind) do nothing",
        [
            EmailMessageId::generate(),
            EmailKind::EmailVerification.as_str(),
            now,
            user_id
        ]
    )
}

impl_from_row!(EmailMessage: id, kind, email_key, create_time, attempts, detail);
