//! Streams, as media servers report them.
//!
//! A heartbeat of a live stream takes no revision: it is one statement, whose `where` clause
//! is the fence. The domain decides everything else, on the stream as a transaction reads
//! it under the lock of its project.

use super::{
    connections, node_boots,
    rows::{load, lock_project_of, reconnect_window, record, store, store_change, stream_columns},
};
use crate::{
    database::{Batch, Database, DeletedBatch},
    domain::{PublishAction, Publisher, Stream, StreamId, StreamStats, StreamTimeouts, Time},
    error::Result,
    repositories::{Refusals, projects::rows::return_revision},
};

/// Streams, as media servers report them.
#[derive(Debug, Clone)]
pub struct Publishing {
    pub(crate) database: Database,
    pub(super) refusals: Refusals,
    pub(crate) timeouts: StreamTimeouts,
}

impl Publishing {
    /// Streams in this database, with these timeouts.
    pub fn new(database: Database, timeouts: StreamTimeouts) -> Self {
        Self {
            refusals: Refusals::new(database.clone()),
            database,
            timeouts,
        }
    }

    /// Records that a connection is alive; returns whether it may continue.
    pub async fn heartbeat(
        &self,
        id: StreamId,
        epoch: i64,
        publisher: &Publisher,
        stats: Option<&StreamStats>,
        now: Time,
    ) -> Result<(Stream, PublishAction)> {
        let media_flows = stats.is_none_or(|stats| stats.bytes_received > 0);
        if media_flows
            && let Some(stream) = self
                .heartbeat_live(id, epoch, publisher, stats, now)
                .await?
        {
            return Ok((stream, PublishAction::Continue));
        }

        self.database
            .transaction(|mut tx| async move {
                let (project_id, revision) = lock_project_of(&mut tx, id).await?;
                let before = load(&mut tx, id).await?;
                let action = before.action_for(publisher, epoch);
                if action != PublishAction::Continue {
                    return tx.rollback((before, action)).await;
                }

                let mut stream = before.clone();
                stream.record_activity(media_flows, now);
                stream.stats = stats.cloned().or(stream.stats);
                store(&mut tx, &stream).await?;
                if stream.state == before.state {
                    return_revision(&mut tx, project_id).await?;
                    tx.commit(()).await?;
                } else {
                    record(&mut tx, revision, Some(&before), &stream, now).await?;
                    self.database.commit_change(tx, project_id).await?;
                }
                Ok((stream, PublishAction::Continue))
            })
            .await
    }

    /// The typical heartbeat, of the connection that holds a live stream.
    async fn heartbeat_live(
        &self,
        id: StreamId,
        epoch: i64,
        publisher: &Publisher,
        stats: Option<&StreamStats>,
        now: Time,
    ) -> Result<Option<Stream>> {
        fetch_optional!(
            self.database.writer(),
            concat!(
                "update streams
                 set last_seen_time = $6,
                     bytes_received = coalesce($7, bytes_received),
                     bitrate_bps = coalesce($8, bitrate_bps),
                     width = coalesce($9, width),
                     height = coalesce($10, height),
                     fps = coalesce($11, fps),
                     video_codec = coalesce($12, video_codec),
                     audio_codec = coalesce($13, audio_codec)
                 where id = $1 and epoch = $2 and node_id = $3 and boot_id = $4
                   and connection_id = $5 and status = 'live' and connected
                 returning ",
                stream_columns!(""),
            ),
            [
                id,
                epoch,
                &publisher.node_id,
                &publisher.boot_id,
                &publisher.connection_id,
                now,
                stats.map(|stats| stats.bytes_received),
                stats.map(|stats| stats.bitrate_bps),
                stats.map(|stats| stats.width),
                stats.map(|stats| stats.height),
                stats.map(|stats| stats.fps),
                stats.map(|stats| &stats.video_codec),
                stats.map(|stats| &stats.audio_codec)
            ]
        )
    }

    /// Records the end of a connection. Changes the stream only if the connection holds it.
    pub async fn end(
        &self,
        id: StreamId,
        epoch: i64,
        publisher: &Publisher,
        now: Time,
    ) -> Result<Stream> {
        self.database
            .transaction(|mut tx| async move {
                let (project_id, revision) = lock_project_of(&mut tx, id).await?;
                let before = load(&mut tx, id).await?;
                connections::record_end(&mut tx, publisher, project_id, now).await?;
                if !before.is_held_by(publisher, epoch) {
                    return_revision(&mut tx, project_id).await?;
                    return tx.commit(before).await;
                }

                let mut stream = before.clone();
                stream.disconnect(reconnect_window(&mut tx, project_id).await?, now);
                store_change(&mut tx, revision, &before, &stream, now).await?;
                self.database.commit_change(tx, project_id).await?;
                Ok(stream)
            })
            .await
    }

    /// Whether a stream belongs to other media servers only: this connection has never published
    /// to its project, and the stream is not at its media server. `false` for an unknown stream.
    pub async fn is_foreign(&self, id: StreamId, publisher: &Publisher) -> Result<bool> {
        exists!(
            self.database.writer(),
            "select s.id
             from streams s
             where s.id = $1 and s.node_id <> $2
               and not exists (
                   select 1
                   from publishes p
                   where p.node_id = $2 and p.boot_id = $3 and p.connection_id = $4
                     and p.project_id = s.project_id)",
            [
                id,
                &publisher.node_id,
                &publisher.boot_id,
                &publisher.connection_id
            ]
        )
    }

    /// Deletes a batch of connections from before a time.
    pub async fn purge_connections(
        database: &Database,
        before: Time,
        batch: Batch,
    ) -> Result<DeletedBatch> {
        connections::purge(database, before, batch).await
    }

    /// Deletes a batch of boots from before a time.
    pub async fn purge_boots(
        database: &Database,
        before: Time,
        batch: Batch,
    ) -> Result<DeletedBatch> {
        node_boots::purge(database, before, batch).await
    }
}
