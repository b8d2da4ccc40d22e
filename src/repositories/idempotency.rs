//! Idempotent calls (AIP-155): the `request_id` is stored with the id of the created or changed
//! resource, in the transaction that creates or changes it.

use chrono::TimeDelta;
use uuid::Uuid;

use crate::{
    database::{Batch, Check, Database, DeletedBatch, QueueStatements},
    domain::Time,
    error::{Error, Result},
};

/// How long a request id is stored.
const REQUEST_ID_RETENTION: TimeDelta = TimeDelta::hours(24);

/// The identity of a request, which may be repeated.
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

/// What a change depends on, and its identity.
#[derive(Debug, Clone, Default)]
pub struct ChangeOptions {
    /// The etag that the resource must still have; `None` means any.
    pub etag: Option<String>,
    /// The identity of the request, so that a repeated one has no second effect.
    pub idempotency: Option<IdempotencyKey>,
}

impl ChangeOptions {
    /// `EtagMismatch` if the resource must have another etag than its current one.
    pub fn check_etag(&self, current: &str) -> Result<()> {
        match &self.etag {
            Some(etag) if etag != current => Err(Error::EtagMismatch),
            _ => Ok(()),
        }
    }

    /// Stores the request with the resource that it changed, if it has an identity.
    pub(crate) async fn record(
        &self,
        tx: &mut impl QueueStatements,
        resource_id: Uuid,
        now: Time,
    ) -> Result<()> {
        match &self.idempotency {
            Some(key) => key.record(tx, resource_id, now).await,
            None => Ok(()),
        }
    }
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
        let earlier: Option<(String, Vec<u8>, Uuid)> = fetch_optional!(
            database.reader(),
            "select method, fingerprint, resource_id
             from idempotent_creates
             where owner_id = $1 and request_id = $2 and create_time > $3",
            [self.owner_id, self.request_id, now - REQUEST_ID_RETENTION]
        )?;

        let Some((method, fingerprint, resource_id)) = earlier else {
            return Ok(None);
        };
        let mut digests = self.fingerprints.iter();
        if method != self.method || !digests.any(|digest| digest[..] == fingerprint) {
            return Err(Self::request_id_reused());
        }
        Ok(Some(resource_id))
    }

    /// The error if another request used the same id.
    pub fn request_id_reused() -> Error {
        Error::invalid("request_id", "must not be used for another request")
    }

    /// The sealed secret that this request created, for a repetition.
    pub(crate) async fn find_secret(&self, database: &Database) -> Result<Option<Vec<u8>>> {
        let found: Option<Option<Vec<u8>>> = fetch_optional_scalar!(
            database.reader(),
            "select secret_sealed
             from idempotent_creates
             where owner_id = $1 and request_id = $2",
            [self.owner_id, self.request_id]
        )?;
        Ok(found.flatten())
    }

    /// Stores the resource that this request created or changed. `ConcurrentChange` if the same
    /// request is executed concurrently.
    pub(crate) async fn record(
        &self,
        tx: &mut impl QueueStatements,
        resource_id: Uuid,
        now: Time,
    ) -> Result<()> {
        self.record_with_secret(tx, resource_id, None, now).await
    }

    /// The same, with the sealed secret of the created resource if only the response has it.
    pub(crate) async fn record_with_secret(
        &self,
        tx: &mut impl QueueStatements,
        resource_id: Uuid,
        secret_sealed: Option<&[u8]>,
        now: Time,
    ) -> Result<()> {
        queue!(
            tx,
            "delete from idempotent_creates
             where owner_id = $1 and request_id = $2 and create_time <= $3",
            [self.owner_id, self.request_id, now - REQUEST_ID_RETENTION],
            Check::default()
        )?;

        queue!(
            tx,
            "insert into idempotent_creates
                 (owner_id, request_id, method, fingerprint, resource_id, create_time,
                  secret_sealed)
             values ($1, $2, $3, $4, $5, $6, $7)",
            [
                self.owner_id,
                self.request_id,
                self.method,
                self.fingerprints.first().map(|digest| &digest[..]),
                resource_id,
                now,
                secret_sealed
            ],
            Check::is_unique(|| Error::ConcurrentChange)
        )
    }

    /// Deletes a batch of outdated request ids.
    pub async fn purge(database: &Database, now: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from idempotent_creates
             where (owner_id, request_id) in (
                 select owner_id, request_id
                 from idempotent_creates
                 where create_time <= $1
                 order by create_time
                 limit $2 offset $3)";
        let before = now - REQUEST_ID_RETENTION;
        database.delete_batch(DELETE, before, batch).await
    }
}

/// Creates a resource with `insert`. If the same request has created it, reads it with `get`.
pub(crate) async fn create_once<T, F>(
    database: &Database,
    key: Option<&IdempotencyKey>,
    now: Time,
    insert: impl Future<Output = Result<T>>,
    get: impl Fn(Uuid) -> F,
) -> Result<Created<T>>
where
    F: Future<Output = Result<T>>,
{
    let Some(key) = key else {
        return insert.await.map(Created::New);
    };
    if let Some(id) = key.find(database, now).await? {
        return get(id).await.map(Created::Existing);
    }
    match insert.await {
        // The same request may have created it meanwhile.
        Err(Error::ConcurrentChange) => match key.find(database, now).await? {
            Some(id) => get(id).await.map(Created::Existing),
            None => Err(Error::ConcurrentChange),
        },
        created => created.map(Created::New),
    }
}

/// Makes a change once. If the same request has made it, reads the resource with `get`.
pub(crate) async fn change_once<T, F>(
    database: &Database,
    key: Option<&IdempotencyKey>,
    now: Time,
    change: impl Future<Output = Result<T>>,
    get: impl Fn(Uuid) -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    match create_once(database, key, now, change, get).await? {
        Created::New(resource) | Created::Existing(resource) => Ok(resource),
    }
}
