use uuid::Uuid;

use crate::{
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::Time,
    error::Result,
};

/// The sessions and API keys that were ended while their access tokens may be valid.
#[derive(Debug, Clone)]
pub struct TokenRevocations {
    database: Database,
}

impl TokenRevocations {
    /// The revocations in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The ids of sessions and API keys that were ended after a time, and when.
    pub async fn since(&self, since: Time) -> Result<Vec<(Uuid, Time)>> {
        fetch_all!(
            self.database.reader(),
            "select id, revoke_time from revocations where revoke_time > $1",
            [since]
        )
    }

    /// Deletes a batch of revocations from before a time.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from revocations
             where id in (
                 select id
                 from revocations
                 where revoke_time < $1
                 order by revoke_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}

/// Records the end of a session or an API key.
pub(super) async fn insert(tx: &mut Transaction, id: Uuid, now: Time) -> Result<()> {
    execute!(
        tx,
        "insert into revocations (id, revoke_time)
         values ($1, $2)
         on conflict do nothing",
        [id, now]
    )
}

/// Records all sessions that were ended at a time, in one statement: replicas would miss
/// revocations of a transaction that takes longer than the period that they look back.
pub(super) async fn insert_sessions(tx: &mut Transaction, now: Time) -> Result<()> {
    execute!(
        tx,
        "insert into revocations (id, revoke_time)
         select id, revoke_time from sessions where revoke_time = $1
         on conflict do nothing",
        [now]
    )
}
