//! Creates that may be repeated (AIP-155): the `request_id` is kept with what
//! it created, in the transaction that creates it.

use chrono::TimeDelta;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    database::{Database, Transaction, is_taken},
    domain::Time,
    error::{Error, Result},
};

/// How long a request id is remembered.
const MEMORY: TimeDelta = TimeDelta::hours(24);

/// The identity of a create that may be repeated.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// Who asks: a user, or nil before there is one.
    pub owner_id: Uuid,
    /// What the caller chose.
    pub request_id: Uuid,
    /// The RPC.
    pub method: &'static str,
    /// Keyed digests of what was asked, one per key; the first one is kept.
    pub fingerprints: Vec<[u8; 32]>,
}

/// What a create led to.
#[derive(Debug)]
pub enum Created<T> {
    /// A new thing.
    New(T),
    /// The thing that the same request made before.
    Before(T),
}

impl IdempotencyKey {
    /// What this request made before, if it did within the last 24 hours.
    ///
    /// The same id with another request is refused.
    pub async fn find(&self, database: &Database, now: Time) -> Result<Option<Uuid>> {
        #[derive(FromRow)]
        struct Earlier {
            method: String,
            fingerprint: Vec<u8>,
            resource_id: Uuid,
        }

        let earlier = on_engine!(database.reader(), pool => sqlx::query_as::<_, Earlier>(
            "select method, fingerprint, resource_id
             from idempotent_creates
             where owner_id = $1 and request_id = $2 and create_time > $3",
        )
        .bind(self.owner_id)
        .bind(self.request_id)
        .bind(now - MEMORY)
        .fetch_optional(pool)
        .await)?;

        match earlier {
            None => Ok(None),
            Some(earlier)
                if earlier.method == self.method
                    && self
                        .fingerprints
                        .iter()
                        .any(|digest| digest[..] == earlier.fingerprint) =>
            {
                Ok(Some(earlier.resource_id))
            }
            Some(_) => Err(Self::used_otherwise()),
        }
    }

    /// The refusal of an id that was used for another request.
    pub fn used_otherwise() -> Error {
        Error::invalid("request_id", "must not be used for another request")
    }

    /// Remembers what this request made. `ConcurrentChange` if the same request
    /// is being answered at the same moment.
    pub(crate) async fn record(&self, tx: &mut Transaction, made: Uuid, now: Time) -> Result<()> {
        let outdated = now - MEMORY;
        on_engine!(&mut *tx, tx => sqlx::query(
            "delete from idempotent_creates
             where owner_id = $1 and request_id = $2 and create_time <= $3",
        )
        .bind(self.owner_id)
        .bind(self.request_id)
        .bind(outdated)
        .execute(&mut **tx)
        .await
        .map(drop))?;

        let recorded = on_engine!(tx, tx => sqlx::query(
            "insert into idempotent_creates
                 (owner_id, request_id, method, fingerprint, resource_id, create_time)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(self.owner_id)
        .bind(self.request_id)
        .bind(self.method)
        .bind(self.fingerprints.first().map(|digest| &digest[..]))
        .bind(made)
        .bind(now)
        .execute(&mut **tx)
        .await
        .map(drop));
        match recorded {
            Err(failure) if is_taken(&failure) => Err(Error::ConcurrentChange),
            other => Ok(other?),
        }
    }

    /// Forgets request ids that count no more, at most `limit`; tells how many.
    pub async fn purge(database: &Database, now: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(database.writer(), pool => sqlx::query(
            "delete from idempotent_creates
             where (owner_id, request_id) in (
                 select owner_id, request_id
                 from idempotent_creates
                 where create_time <= $1
                 limit $2)",
        )
        .bind(now - MEMORY)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
}
