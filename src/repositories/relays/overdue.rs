//! The timeouts of relays: expired leases, and relays that send no more bytes.

use sqlx::FromRow;

use super::{
    RelayLeases,
    rows::{is_reconnecting, load},
};
use crate::{
    database::Transaction,
    domain::{DestinationId, ProjectId, Relay, StreamId, Time},
    error::Result,
};

/// Identifies a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromRow)]
pub struct RelayKey {
    /// The stream.
    pub stream_id: StreamId,
    /// The destination.
    pub destination_id: DestinationId,
    /// The project of both.
    pub project_id: ProjectId,
}

impl RelayLeases {
    /// At most `limit` relays after `above`, in their order, that may have to change: their lease
    /// has expired, or they send no more bytes.
    pub async fn overdue(
        &self,
        now: Time,
        above: (StreamId, DestinationId),
        limit: i64,
    ) -> Result<Vec<RelayKey>> {
        let silent_since = now - self.times.stall;
        // Materialized, so that the indexes on the times are used and not that on the ids.
        fetch_all!(
            self.database.reader(),
            "with overdue as materialized (
                 select stream_id, destination_id, project_id
                 from relays
                 where lease_id is not null and lease_expire_time <= $1
                 union
                 select r.stream_id, r.destination_id, r.project_id
                 from relays r
                 join streams s on s.id = r.stream_id
                 where r.state = 'broadcasting' and r.silent_since <= $2 and s.status = 'live')
             select stream_id, destination_id, project_id
             from overdue
             where (stream_id, destination_id) > ($3, $4)
             order by stream_id, destination_id
             limit $5",
            [now, silent_since, above.0, above.1, limit]
        )
    }

    /// Writes a relay as it is: fails if the database accepts no writes.
    pub async fn touch(&self, key: RelayKey) -> Result<()> {
        execute!(
            self.database.writer(),
            "update relays
             set attempt = attempt
             where stream_id = $1 and destination_id = $2",
            [key.stream_id, key.destination_id]
        )
    }

    /// Applies the timeouts to a relay. `None` if nothing changes, or if another transaction
    /// has locked its project.
    pub async fn expire(&self, key: RelayKey, now: Time) -> Result<Option<Relay>> {
        self.database
            .transaction(|mut tx| async move {
                let Some(revision) = try_lock_project(&mut tx, key.project_id).await? else {
                    return tx.rollback(None).await;
                };
                let Some(mut relay) = load(&mut tx, key.stream_id, key.destination_id).await?
                else {
                    return tx.rollback(None).await;
                };
                let is_reconnecting = is_reconnecting(&mut tx, key.stream_id).await?;
                if !relay.expire(is_reconnecting, self.times, now) {
                    return tx.rollback(None).await;
                }
                self.finish(tx, revision, &relay, now).await?;
                Ok(Some(relay))
            })
            .await
    }
}

/// Locks a project and takes its next revision, unless another transaction has locked it.
async fn try_lock_project(tx: &mut Transaction, id: ProjectId) -> Result<Option<i64>> {
    let sql = match tx {
        Transaction::Postgres(_) => {
            "update projects
             set revision = revision + 1
             where id = (
                 select id from projects where id = $1 for no key update skip locked)
             returning revision"
        }
        Transaction::Sqlite(_) => {
            "update projects set revision = revision + 1 where id = $1 returning revision"
        }
    };
    fetch_optional_scalar!(tx, sql, [id])
}
