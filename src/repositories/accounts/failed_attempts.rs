//! Wrong passwords, counted in the database so that all replicas count together.
//!
//! An attempt is counted as a failure before the password is looked at, in one
//! statement that also checks the wait: so no number of parallel attempts gets
//! more passwords checked than the waits allow. Success takes the count back.
//!
//! What is counted is the account, whether it exists or not. At an address from
//! which the owner signed in before, it is the account at that address instead:
//! strangers, however many, do not make the owner wait there.

use std::time::Duration;

use chrono::TimeDelta;

use crate::{
    database::{Database, Timestamp, Transaction},
    domain::{GuessSubject, Time, waits_after_failures},
    error::{Error, Result},
};

/// After which time without an attempt failures are forgotten.
const MEMORY: TimeDelta = TimeDelta::hours(24);

/// After which time without a sign-in an address is not the owner's any more.
const FAMILIARITY: TimeDelta = TimeDelta::days(90);

/// Counts attempts to guess passwords.
#[derive(Debug, Clone)]
pub struct Guesses {
    database: Database,
}

/// An attempt that counts as a failure until it has succeeded.
#[derive(Debug)]
#[must_use]
pub struct Guess {
    counted: Vec<u8>,
}

impl Guesses {
    /// Guesses counted in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Counts an attempt; `TooManyAttempts` if it has to wait.
    pub async fn count(&self, subject: &GuessSubject, now: Time) -> Result<Guess> {
        let counted = match &subject.at_address {
            Some(at_address) if self.is_familiar(at_address, now).await? => at_address,
            _ => &subject.main,
        };
        self.reserve(counted, now).await?;
        let counted = counted.clone();
        Ok(Guess { counted })
    }

    async fn is_familiar(&self, at_address: &[u8], now: Time) -> Result<bool> {
        let found = on_engine!(self.database.reader(), pool => {
            sqlx::query_scalar::<_, Vec<u8>>(
                "select subject_hash from guesses
                 where subject_hash = $1 and familiar_until > $2",
            )
            .bind(at_address)
            .bind(now)
            .fetch_optional(pool)
            .await
        })?;
        Ok(found.is_some())
    }

    async fn reserve(&self, subject: &[u8], now: Time) -> Result<()> {
        let [
            (at, first),
            (_, second),
            (_, third),
            (_, fourth),
            (_, fifth),
            (_, sixth),
        ] = waits(now);
        let counted = on_engine!(self.database.writer(), pool => sqlx::query(
            "insert into guesses (subject_hash, failures, locked_until, update_time)
             values ($1, 1, $3, $2)
             on conflict (subject_hash) do update
             set failures = case
                     when guesses.update_time < $3 then 1
                     else guesses.failures + 1
                 end,
                 locked_until = case
                     when guesses.update_time < $3 or guesses.failures + 1 < $4
                         then guesses.locked_until
                     when guesses.failures + 1 = $4 then $5
                     when guesses.failures + 1 = $4 + 1 then $6
                     when guesses.failures + 1 = $4 + 2 then $7
                     when guesses.failures + 1 = $4 + 3 then $8
                     when guesses.failures + 1 = $4 + 4 then $9
                     else $10
                 end,
                 update_time = $2
             where guesses.locked_until <= $2",
        )
        .bind(subject)
        .bind(now)
        .bind(now - MEMORY)
        .bind(at)
        .bind(first)
        .bind(second)
        .bind(third)
        .bind(fourth)
        .bind(fifth)
        .bind(sixth)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?;
        match counted {
            0 => Err(Error::TooManyAttempts(self.wait(subject, now).await?)),
            _ => Ok(()),
        }
    }

    async fn wait(&self, subject: &[u8], now: Time) -> Result<Duration> {
        let until = on_engine!(self.database.reader(), pool => sqlx::query_scalar::<_, Timestamp>(
            "select locked_until from guesses where subject_hash = $1",
        )
        .bind(subject)
        .fetch_optional(pool)
        .await)?;
        let wait = until.and_then(|until| (until - now).to_std().ok());
        Ok(wait.unwrap_or_default().max(Duration::from_millis(100)))
    }

    /// Takes back the count of an attempt within a session that was right.
    pub async fn forgive(&self, guess: Guess) -> Result<()> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                forget(&mut tx, &guess).await?;
                tx.commit().await
            })
            .await
    }

    /// Forgets what counts no more, at most `limit`; tells how many.
    pub async fn purge(&self, now: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from guesses
             where subject_hash in (
                 select subject_hash
                 from guesses
                 where update_time < $1 and (familiar_until is null or familiar_until < $2)
                 limit $3)",
        )
        .bind(now - MEMORY)
        .bind(now)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
}

/// Takes back the count of an attempt that was right.
pub(crate) async fn forget(tx: &mut Transaction, guess: &Guess) -> Result<()> {
    on_engine!(tx, tx => sqlx::query("delete from guesses where subject_hash = $1")
        .bind(&guess.counted)
        .execute(&mut **tx)
        .await
        .map(drop))?;
    Ok(())
}

/// Makes an address familiar, because the account's owner showed up there.
pub(crate) async fn welcome(tx: &mut Transaction, at_address: &[u8], now: Time) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "insert into guesses (subject_hash, failures, familiar_until, locked_until, update_time)
         values ($1, 0, $2, $3, $4)
         on conflict (subject_hash) do update
         set failures = 0, familiar_until = $2, locked_until = $3, update_time = $4",
    )
    .bind(at_address)
    .bind(now + FAMILIARITY)
    .bind(now - MEMORY)
    .bind(now)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

/// The waits as moments.
fn waits(now: Time) -> [(i64, Time); 6] {
    let mut moments = waits_after_failures().map(|(failures, wait)| (failures, now + wait));
    std::array::from_fn(|_| moments.next().unwrap_or((i64::MAX, now)))
}
