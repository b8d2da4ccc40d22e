//! The connections that have published.

use crate::{
    database::{Batch, Check, Database, DeletedBatch, QueueStatements},
    domain::{ProjectId, Publisher, Time},
    error::{Error, Result},
};

/// The history of a connection in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionHistory {
    /// The connection has not published before.
    New,
    /// The connection has published before.
    Published,
    /// The connection has published before, and its media server has reported its end.
    Ended,
}

impl ConnectionHistory {
    /// The history of a connection that has published before or not, and whose end is reported
    /// or not.
    pub fn of(has_published: bool, has_ended: bool) -> Self {
        match (has_published, has_ended) {
            (false, _) => Self::New,
            (true, false) => Self::Published,
            (true, true) => Self::Ended,
        }
    }
}

/// Inserts a connection that publishes to a project for the first time.
pub(super) async fn insert(
    tx: &mut impl QueueStatements,
    publisher: &Publisher,
    project_id: ProjectId,
    now: Time,
) -> Result<()> {
    queue!(
        tx,
        "insert into publishes (node_id, boot_id, connection_id, project_id, create_time)
         values ($1, $2, $3, $4, $5)",
        [
            &publisher.node_id,
            &publisher.boot_id,
            &publisher.connection_id,
            project_id,
            now
        ],
        Check::is_unique(|| Error::ConcurrentChange)
    )
}

/// Records the end of a connection, whether or not it holds a stream. It cannot publish
/// again.
pub(super) async fn record_end(
    tx: &mut impl QueueStatements,
    publisher: &Publisher,
    project_id: ProjectId,
    now: Time,
) -> Result<()> {
    queue!(
        tx,
        "update publishes
         set end_time = $5
         where node_id = $1 and boot_id = $2 and connection_id = $3 and project_id = $4
           and end_time is null",
        [
            &publisher.node_id,
            &publisher.boot_id,
            &publisher.connection_id,
            project_id,
            now
        ],
        Check::default()
    )
}

/// Deletes a batch of connections from before a time that hold no stream.
pub(super) async fn purge(database: &Database, before: Time, batch: Batch) -> Result<DeletedBatch> {
    const DELETE: &str = "delete from publishes
         where (node_id, boot_id, connection_id, project_id) in (
             select p.node_id, p.boot_id, p.connection_id, p.project_id
             from publishes p
             where p.create_time < $1
               and not exists (
                   select 1
                   from streams s
                   where s.node_id = p.node_id and s.boot_id = p.boot_id
                     and s.connection_id = p.connection_id and s.end_time is null)
             order by p.create_time
             limit $2 offset $3)";
    database.delete_batch(DELETE, before, batch).await
}
