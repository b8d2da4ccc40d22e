use std::sync::Arc;

use chrono::TimeDelta;
use sqlx::FromRow;
use tokio::sync::Notify;

use crate::{
    database::{Database, Pools, Timestamp, Transaction, known},
    domain::{Email, Letter, LetterId, LetterKind, Time, UserId},
    error::Result,
};

/// Messages that are to be sent. A clone shares the bell that is rung for new ones.
#[derive(Debug, Clone)]
pub struct Outbox {
    database: Database,
    bell: Arc<Notify>,
}

#[derive(FromRow)]
struct LetterRow {
    id: LetterId,
    kind: String,
    email_key: String,
    create_time: Timestamp,
    attempts: i64,
}

impl Outbox {
    /// The outbox in this database.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            bell: Arc::default(),
        }
    }

    /// Asks for a password reset to be sent to an address, whether it has an
    /// account or not; nothing changes if one is on its way.
    pub async fn add_reset(&self, email: &Email, now: Time) -> Result<()> {
        // A conflict writes too. If it did not, a second request would be answered
        // sooner as long as the first one is kept, which tells of an account.
        on_engine!(self.database.writer(), pool => sqlx::query(
            "insert into outbox (id, kind, email_key, create_time, attempts, next_attempt_time)
             values ($1, $2, $3, $4, 0, $4)
             on conflict (email_key, kind) do update set kind = excluded.kind",
        )
        .bind(LetterId::generate())
        .bind(LetterKind::PasswordReset.as_str())
        .bind(email.key())
        .bind(now)
        .execute(pool)
        .await
        .map(drop))?;
        self.ring();
        Ok(())
    }

    /// Asks for a message to be sent that lets a user verify their address;
    /// nothing changes if they did, or one is on its way.
    pub async fn add_verification(&self, user_id: UserId, now: Time) -> Result<()> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                add_verification(&mut tx, user_id, now).await?;
                tx.commit().await?;
                self.ring();
                Ok(())
            })
            .await
    }

    /// Tells who waits in this process that there is something new.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits until there is something new from this process.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Takes messages whose time has come, for as long as the lease, after which
    /// they are there again.
    pub async fn claim(&self, limit: i64, lease: TimeDelta, now: Time) -> Result<Vec<Letter>> {
        // Replicas that claim at once do not wait for each other. SQLite has one writer.
        let sql = match &self.database.pools {
            Pools::Postgres(_) => {
                "update outbox
                 set attempts = attempts + 1, next_attempt_time = $2
                 where id in (
                     select id
                     from outbox
                     where next_attempt_time <= $1
                     order by next_attempt_time
                     limit $3
                     for update skip locked)
                 returning id, kind, email_key, create_time, attempts"
            }
            Pools::Sqlite { .. } => {
                "update outbox
                 set attempts = attempts + 1, next_attempt_time = $2
                 where id in (
                     select id
                     from outbox
                     where next_attempt_time <= $1
                     order by next_attempt_time
                     limit $3)
                 returning id, kind, email_key, create_time, attempts"
            }
        };
        let rows = on_engine!(self.database.writer(), pool => sqlx::query_as::<_, LetterRow>(sql)
            .bind(now)
            .bind(now + lease)
            .bind(limit)
            .fetch_all(pool)
            .await)?;
        rows.into_iter()
            .map(|row| Ok(row.try_into()?))
            .collect::<Result<_>>()
    }

    /// Puts a message that could not be sent off to a later time.
    pub async fn postpone(&self, id: LetterId, until: Time) -> Result<()> {
        on_engine!(self.database.writer(), pool => sqlx::query(
            "update outbox set next_attempt_time = $2 where id = $1",
        )
        .bind(id)
        .bind(until)
        .execute(pool)
        .await
        .map(drop))?;
        Ok(())
    }

    /// Forgets a message that was sent, or is not to be.
    pub async fn remove(&self, id: LetterId) -> Result<()> {
        on_engine!(self.database.writer(), pool => sqlx::query("delete from outbox where id = $1")
            .bind(id)
            .execute(pool)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Forgets messages of before a moment, which nobody sent, at most `limit`;
    /// tells how many.
    pub async fn purge(&self, before: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from outbox
             where id in (select id from outbox where create_time < $1 limit $2)",
        )
        .bind(before)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
}

/// Asks for a message with which a user verifies their address, in the
/// transaction that makes that necessary.
pub(crate) async fn add_verification(
    tx: &mut Transaction,
    user_id: UserId,
    now: Time,
) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "insert into outbox (id, kind, email_key, create_time, attempts, next_attempt_time)
         select $1, $2, email_key, $3, 0, $3
         from users
         where id = $4 and not email_verified
         on conflict (email_key, kind) do nothing",
    )
    .bind(LetterId::generate())
    .bind(LetterKind::EmailVerification.as_str())
    .bind(now)
    .bind(user_id)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

impl TryFrom<LetterRow> for Letter {
    type Error = sqlx::Error;

    fn try_from(row: LetterRow) -> Result<Self, sqlx::Error> {
        let LetterRow {
            id,
            kind,
            email_key,
            create_time,
            attempts,
        } = row;
        Ok(Self {
            id,
            kind: known("kind", LetterKind::parse(&kind))?,
            email_key,
            create_time,
            attempts,
        })
    }
}
