//! Attempts with a wrong password, counted in the database for all replicas together.
//!
//! An attempt is counted as a failure before the password is checked, in one statement
//! that also checks the wait. So parallel attempts get no more passwords checked than the
//! waits allow. A success clears the count.
//!
//! Attempts are counted per account, whether it exists or not. At an address from which the
//! owner has signed in, they are counted per account and address instead: attempts from
//! elsewhere do not make the owner wait there.

use std::time::Duration;

use chrono::TimeDelta;

use crate::{
    auth::{AttemptSubject, retry_delays},
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::Time,
    error::{Error, Result},
};

/// The time without an attempt after which failures do not count any more.
const FAILURE_RETENTION: TimeDelta = TimeDelta::hours(24);

/// The time without a sign-in after which an address is not familiar any more.
const FAMILIAR_ADDRESS_RETENTION: TimeDelta = TimeDelta::days(90);

/// Counts attempts with a wrong password.
#[derive(Debug, Clone)]
pub struct FailedAttempts {
    database: Database,
}

/// An attempt that counts as a failure until it has succeeded.
#[derive(Debug)]
#[must_use]
pub struct CountedAttempt {
    subject_hash: Vec<u8>,
}

impl FailedAttempts {
    /// The failed attempts in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Counts an attempt as failed. `TooManyAttempts` if it has to wait.
    pub async fn count(&self, subject: &AttemptSubject, now: Time) -> Result<CountedAttempt> {
        let subject_hash = match &subject.at_address {
            Some(at) if self.is_familiar(&at.familiar, now).await? => &at.counted,
            _ => &subject.main,
        };
        self.count_failure(subject_hash, now).await?;
        Ok(CountedAttempt {
            subject_hash: subject_hash.clone(),
        })
    }

    async fn is_familiar(&self, at_address: &[u8], now: Time) -> Result<bool> {
        exists!(
            self.database.reader(),
            "select subject_hash from guesses
                 where subject_hash = $1 and familiar_until > $2",
            [at_address, now]
        )
    }

    async fn count_failure(&self, subject_hash: &[u8], now: Time) -> Result<()> {
        let (threshold, [first, second, third, fourth, fifth, sixth]) = lock_times(now);
        let counted = rows_affected!(
            self.database.writer(),
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
            [
                subject_hash,
                now,
                now - FAILURE_RETENTION,
                threshold,
                first,
                second,
                third,
                fourth,
                fifth,
                sixth
            ]
        )?;
        match counted {
            0 => Err(Error::TooManyAttempts(
                self.remaining_wait(subject_hash, now).await?,
            )),
            _ => Ok(()),
        }
    }

    async fn remaining_wait(&self, subject_hash: &[u8], now: Time) -> Result<Duration> {
        let until: Option<Time> = fetch_optional_scalar!(
            self.database.reader(),
            "select locked_until from guesses where subject_hash = $1",
            [subject_hash]
        )?;
        let wait = until.and_then(|until| (until - now).to_std().ok());
        Ok(wait.unwrap_or_default().max(Duration::from_millis(100)))
    }

    /// Clears the count after the right password that begins no session. A familiar address stays
    /// familiar.
    pub async fn clear(&self, attempt: &CountedAttempt) -> Result<()> {
        let subject_hash = &attempt.subject_hash;
        self.database
            .transaction(|mut tx| async move {
                execute!(
                    tx,
                    "delete from guesses where subject_hash = $1 and familiar_until is null",
                    [subject_hash]
                )?;
                execute!(
                    tx,
                    "update guesses set failures = 0, locked_until = update_time
                     where subject_hash = $1",
                    [subject_hash]
                )?;
                tx.commit(()).await
            })
            .await
    }

    /// Deletes a batch of rows that do not count any more.
    pub async fn purge(&self, now: Time, batch: Batch) -> Result<DeletedBatch> {
        delete_batch!(
            self.database,
            "delete from guesses
             where subject_hash in (
                 select subject_hash
                 from guesses
                 where update_time < $1 and (familiar_until is null or familiar_until < $2)
                 order by update_time
                 limit $3 offset $4)",
            [now - FAILURE_RETENTION, now, batch.limit, batch.skip]
        )
    }
}

/// Clears the count after the right password.
pub(super) async fn clear(tx: &mut Transaction, attempt: &CountedAttempt) -> Result<()> {
    execute!(
        tx,
        "delete from guesses where subject_hash = $1",
        [&attempt.subject_hash]
    )
}

/// Marks an address as familiar, because the owner of the account has signed in there.
pub(super) async fn mark_familiar(
    tx: &mut Transaction,
    at_address: &[u8],
    now: Time,
) -> Result<()> {
    execute!(
        tx,
        "insert into guesses (subject_hash, failures, familiar_until, locked_until, update_time)
         values ($1, 0, $2, $3, $4)
         on conflict (subject_hash) do update
         set failures = 0, familiar_until = $2, locked_until = $3, update_time = $4",
        [
            at_address,
            now + FAMILIAR_ADDRESS_RETENTION,
            now - FAILURE_RETENTION,
            now
        ]
    )
}

/// The number of failures that locks the next attempt, and until when that failure and each
/// further one lock it.
fn lock_times(now: Time) -> (i64, [Time; 6]) {
    let mut delays = retry_delays().peekable();
    let threshold = delays.peek().map_or(i64::MAX, |(failures, _)| *failures);
    let times = std::array::from_fn(|_| delays.next().map_or(now, |(_, wait)| now + wait));
    (threshold, times)
}
