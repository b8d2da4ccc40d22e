//! The timeouts of streams: passed deadlines, silent connections and expired stream keys.

use super::{
    Publishing,
    rows::{load, reconnect_window, store_change},
};
use crate::{
    database::Transaction,
    domain::{ProjectId, Stream, StreamExpiry, StreamId, Time},
    error::Result,
};

impl Publishing {
    /// At most `limit` streams after `above`, in their order, to which such a timeout may apply.
    pub async fn overdue(
        &self,
        expiry: StreamExpiry,
        now: Time,
        above: StreamId,
        limit: i64,
    ) -> Result<Vec<StreamId>> {
        if expiry == StreamExpiry::Keys {
            // Materialized, so that the index on the times is used and not that on the ids.
            return fetch_scalars!(
                self.database.reader(),
                "with overdue as materialized (
                     select id
                     from streams
                     where end_time is null and key_expire_time <= $1 and connected)
                 select id
                 from overdue
                 where id > $2
                 order by id
                 limit $3",
                [now, above, limit]
            );
        }
        let silent_since = now - self.timeouts.heartbeat;
        // No index has the time of the last report, so that heartbeats are updates in place (HOT):
        // the streams that have not ended are read, and no others.
        fetch_scalars!(
            self.database.reader(),
            "with overdue as materialized (
                 select id
                 from streams
                 where end_time is null and deadline <= $1
                 union
                 select s.id
                 from streams s
                 where s.end_time is null and s.last_seen_time <= $2 and s.status = 'live'
                   and not exists (
                       select 1
                       from node_boots b
                       where s.connected and b.node_id = s.node_id and b.boot_id = s.boot_id
                         and b.sync_time > $2)
                 union
                 select id
                 from streams
                 where end_time is null and key_expire_time <= $1 and connected)
             select id
             from overdue
             where id > $3
             order by id
             limit $4",
            [now, silent_since, above, limit]
        )
    }

    /// Writes a stream as it is: fails if the database accepts no writes.
    pub async fn touch(&self, id: StreamId) -> Result<()> {
        execute!(
            self.database.writer(),
            "update streams set epoch = epoch where id = $1",
            [id]
        )
    }

    /// Applies the timeouts to a stream. `None` if nothing changes, or if another transaction
    /// has locked its project.
    pub async fn expire(
        &self,
        id: StreamId,
        expiry: StreamExpiry,
        now: Time,
    ) -> Result<Option<Stream>> {
        self.database
            .transaction(|mut tx| async move {
                let Some((project_id, revision)) = try_lock_project_of(&mut tx, id).await? else {
                    return tx.rollback(None).await;
                };
                let before = load(&mut tx, id).await?;
                let window = reconnect_window(&mut tx, project_id).await?;
                let mut stream = before.clone();
                if !stream.expire(expiry, window, self.timeouts, now) {
                    return tx.rollback(None).await;
                }

                store_change(&mut tx, revision, &before, &stream, now).await?;
                self.database.commit_change(tx, project_id).await?;
                Ok(Some(stream))
            })
            .await
    }
}

/// Locks the project of a stream and takes its next revision; returns both. `None` if another
/// transaction has locked the project.
async fn try_lock_project_of(
    tx: &mut Transaction,
    id: StreamId,
) -> Result<Option<(ProjectId, i64)>> {
    // SQLite has one writer: no other transaction can have locked the project.
    let sql = match tx {
        Transaction::Postgres(_) => {
            "update projects
             set revision = revision + 1
             where id = (
                 select p.id
                 from streams s
                 join projects p on p.id = s.project_id
                 where s.id = $1
                 for update of p skip locked)
             returning id, revision"
        }
        Transaction::Sqlite(_) => {
            "update projects
             set revision = revision + 1
             where id = (select project_id from streams where id = $1)
             returning id, revision"
        }
    };
    fetch_optional!(tx, sql, [id])
}
