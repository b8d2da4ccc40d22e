//! Idempotent creates (AIP-155): the `request_id` is stored with the id of the created
//! resource, in the transaction that creates it.

use chrono::TimeDelta;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    database::{Database, Transaction, is_unique_violation},
    domain::Time,
    error::{Error, Result},
};

/// How long a request id is stored.
const REQUEST_ID_RETENTION: TimeDelta = TimeDelta::hours(24);

/// The identity of a create request, which may be repeated.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// The user; nil if the request creates one.
    pub owner_id: Uuid,
    /// The id that the caller chose.
    pub request_id: Uuid,
    /// The RPC.
    pub method: &'static str,
    /// Keyed digests of the request, one per key. The first one is stored.
    pub fingerprints: Vec<[u8; 32]>,
}

/// The result of a create.
#[derive(Debug)]
pub enum Created<T> {
    /// A new resource.
    New(T),
    /// The resource that the same request created before.
    Existing(T),
}

impl IdempotencyKey {
    /// The resource that this request created within the last 24 hours.
    ///
    /// `Invalid` if another request used the same id.
    pub async fn find(&self, database: &Database, now: Time) -> Result<Option<Uuid>> {
        #[derive(FromRow)]
        struct Earlier {
            method: String,
            fingerprint: Vec<u8>,
            resource_id: Uuid,
        }

        let earlier: Option<Earlier> = fetch_optional!(
            database.reader(),
            "select method, fingerprint, resource_id
             from idempotent_creates
             where owner_id = $1 and request_id = $2 and create_time > $3",
            [self.owner_id, self.request_id, now - REQUEST_ID_RETENTION]
        )?;

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
            Some(_) => Err(Self::request_id_reused()),
        }
    }

    /// The error if another request used the same id.
    pub fn request_id_reused() -> Error {
        Error::invalid("request_id", "must not be used for another request")
    }

    /// Stores the resource that this request created. `ConcurrentChange` if the same request
    /// is executed concurrently.
    pub(crate) async fn record(
        &self,
        tx: &mut Transaction,
        resource_id: Uuid,
        now: Time,
    ) -> Result<()> {
        execute!(
            tx,
            "delete from idempotent_creates
             where owner_id = $1 and request_id = $2 and create_time <= $3",
            [self.owner_id, self.request_id, now - REQUEST_ID_RETENTION]
        )?;

        let recorded = execute!(
            tx,
            "insert into idempotent_creates
                 (owner_id, request_id, method, fingerprint, resource_id, create_time)
             values ($1, $2, $3, $4, $5, $6)",
            [
                self.owner_id,
                self.request_id,
                self.method,
                self.fingerprints.first().map(|digest| &digest[..]),
                resource_id,
                now
            ]
        )
        .map(drop);
        match recorded {
            Err(error) if is_unique_violation(&error) => Err(Error::ConcurrentChange),
            other => Ok(other?),
        }
    }

    /// Deletes at most `limit` outdated request ids; returns the number.
    pub async fn purge(database: &Database, now: Time, limit: i64) -> Result<u64> {
        const DELETE: &str = "delete from idempotent_creates
             where (owner_id, request_id) in (
                 select owner_id, request_id
                 from idempotent_creates
                 where create_time <= $1
                 limit $2)";
        let before = now - REQUEST_ID_RETENTION;
        database.delete_batch(DELETE, before, limit).await
    }
}
