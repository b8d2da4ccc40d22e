//! Wrong passwords, counted in the database so that all replicas count together.
//!
//! An attempt is counted as a failure before the password is looked at, in one
//! statement that also checks the wait: so no number of parallel attempts gets
//! more passwords checked than the waits allow. Success takes the count back.
//!
//! What is counted is the account, whether it exists or not. At an address from
//! which the owner signed in before, it is the account at that address instead:
//! strangers, however many, do not make the owner wait there. An address of IPv6
//! is its /64, within which a host changes its address as it likes.

use std::time::Duration;

use chrono::TimeDelta;

use super::{Database, columns::Timestamp, engine::Transaction};
use crate::{
    auth::sha256,
    domain::{Email, Origin, SessionId, Time, waits_after_failures},
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
    subject: Vec<u8>,
    /// The account at the address, if the attempt is a sign-in.
    at_address: Option<Vec<u8>>,
}

impl Guesses {
    /// Guesses counted in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Counts an attempt to sign in; `TooManyAttempts` if it has to wait.
    pub async fn sign_in(&self, email: &Email, origin: &Origin, now: Time) -> Result<Guess> {
        let address = origin.peer_address.map(|peer| peer.network().to_string());
        let address = address.unwrap_or_default();
        let at_address = subject("address", &format!("{}\n{address}", email.key()));
        let subject = match self.is_familiar(&at_address, now).await? {
            true => at_address.clone(),
            false => subject("account", email.key()),
        };
        self.count(&subject, now).await?;
        Ok(Guess {
            subject,
            at_address: Some(at_address),
        })
    }

    /// Counts an attempt to give the password within a session; others' guesses
    /// do not make the session wait.
    pub async fn in_session(&self, id: SessionId, now: Time) -> Result<Guess> {
        let subject = subject("session", &id.to_string());
        self.count(&subject, now).await?;
        Ok(Guess {
            subject,
            at_address: None,
        })
    }

    async fn is_familiar(&self, at_address: &[u8], now: Time) -> Result<bool> {
        Ok(
            on_engine!(self.database.reader(), pool => sqlx::query_scalar::<_, bool>(
            "select familiar from guesses where subject_hash = $1 and update_time > $2",
        )
        .bind(at_address)
        .bind(now - FAMILIARITY)
        .fetch_optional(pool)
        .await)?
            .unwrap_or(false),
        )
    }

    async fn count(&self, subject: &[u8], now: Time) -> Result<()> {
        let [
            (at, first),
            (_, second),
            (_, third),
            (_, fourth),
            (_, fifth),
            (_, sixth),
        ] = waits(now);
        let counted = on_engine!(self.database.writer(), pool => sqlx::query(
            "insert into guesses (subject_hash, failures, familiar, locked_until, update_time)
             values ($1, 1, false, $3, $2)
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
    pub async fn forgive(&self, guess: Guess, now: Time) -> Result<()> {
        let mut tx = self.database.begin().await?;
        succeed(&mut tx, &guess, now).await?;
        tx.commit().await
    }

    /// Forgets what counts no more, at most `limit`; tells how many.
    pub async fn purge(&self, now: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from guesses
             where subject_hash in (
                 select subject_hash
                 from guesses
                 where update_time < $1 or update_time < $2 and not familiar
                 limit $3)",
        )
        .bind(now - FAMILIARITY)
        .bind(now - MEMORY)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
}

/// Takes back the count of an attempt that was right; the address becomes the owner's.
pub(super) async fn succeed(tx: &mut Transaction, guess: &Guess, now: Time) -> Result<()> {
    on_engine!(&mut *tx, tx => sqlx::query("delete from guesses where subject_hash = $1")
        .bind(&guess.subject)
        .execute(&mut **tx)
        .await
        .map(drop))?;
    let Some(at_address) = &guess.at_address else {
        return Ok(());
    };
    on_engine!(tx, tx => sqlx::query(
        "insert into guesses (subject_hash, failures, familiar, locked_until, update_time)
         values ($1, 0, true, $3, $2)
         on conflict (subject_hash) do update
         set failures = 0, familiar = true, locked_until = $3, update_time = $2",
    )
    .bind(at_address)
    .bind(now)
    .bind(now - MEMORY)
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

fn subject(kind: &str, what: &str) -> Vec<u8> {
    sha256(&format!("{kind}\n{what}"))
}
