//! Streams, as media servers report them.
//!
//! A heartbeat of a live stream changes nothing that is numbered: it is one
//! statement, fenced in its `where`. All else is decided by the domain, on the
//! stream as the transaction sees it while its project is locked.

use super::{
    connections, node_boots,
    revisions::{take_free_revision_of, take_revision_of},
    rows::{StreamRow, load, record, store},
};
use crate::{
    database::{Database, Transaction},
    domain::{
        Heartbeat, ProjectId, Publisher, ReconnectWindow, Stats, Stream, StreamId, Time, Timeouts,
    },
    error::{Error, Result},
    repositories::{
        Refusals,
        projects::{revisions::return_revision, rows::window_from_millis},
    },
};

/// Streams, as media servers report them.
#[derive(Debug, Clone)]
pub struct Publishing {
    pub(crate) database: Database,
    pub(crate) refusals: Refusals,
    pub(crate) timeouts: Timeouts,
}

impl Publishing {
    /// Streams in this database, which end when they exceed these times.
    pub fn new(database: Database, timeouts: Timeouts) -> Self {
        Self {
            refusals: Refusals::new(database.clone()),
            database,
            timeouts,
        }
    }

    /// Notes that a connection stands; tells whether it may go on.
    pub async fn heartbeat(
        &self,
        id: StreamId,
        epoch: i64,
        publisher: &Publisher,
        stats: Option<&Stats>,
        now: Time,
    ) -> Result<(Stream, Heartbeat)> {
        let media_flows = stats.is_none_or(|stats| stats.bytes_received > 0);
        if media_flows
            && let Some(stream) = self
                .heartbeat_live(id, epoch, publisher, stats, now)
                .await?
        {
            return Ok((stream, Heartbeat::Continue));
        }

        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let (project_id, revision) = take_revision_of(&mut tx, id).await?;
                let before = load(&mut tx, id)
                    .await?
                    .ok_or_else(|| Error::not_found("stream", id))?;
                let verdict = before.verdict(publisher, epoch);
                if verdict != Heartbeat::Continue {
                    tx.rollback().await?;
                    return Ok((before, verdict));
                }

                let mut stream = before.clone();
                stream.seen(media_flows, now);
                stream.stats = stats.cloned().or(stream.stats);
                store(&mut tx, &stream).await?;
                if stream.status == before.status {
                    return_revision(&mut tx, project_id).await?;
                    tx.commit().await?;
                } else {
                    record(&mut tx, revision, Some(&before), &stream, now).await?;
                    self.database.commit_change(tx, project_id).await?;
                }
                Ok((stream, Heartbeat::Continue))
            })
            .await
    }

    /// The usual heartbeat: of the connection that holds a live stream.
    async fn heartbeat_live(
        &self,
        id: StreamId,
        epoch: i64,
        publisher: &Publisher,
        stats: Option<&Stats>,
        now: Time,
    ) -> Result<Option<Stream>> {
        on_engine!(self.database.writer(), pool => sqlx::query_as::<_, StreamRow>(
            "update streams
             set last_seen_time = $6,
                 bytes_received = coalesce($7, bytes_received),
                 bitrate_bps = coalesce($8, bitrate_bps),
                 width = coalesce($9, width),
                 height = coalesce($10, height),
                 fps = coalesce($11, fps),
                 video_codec = coalesce($12, video_codec),
                 audio_codec = coalesce($13, audio_codec)
             where id = $1 and epoch = $2 and node_id = $3 and boot_id = $4 and connection_id = $5
               and status = 'live' and connected
             returning id, project_id, status, epoch, node_id, boot_id, connection_id,
                       peer_address, protocol, connected, create_time, live_time,
                       last_seen_time, deadline, key_expire_time, end_time, end_reason,
                       bytes_received, bitrate_bps, width, height, fps, video_codec,
                       audio_codec",
        )
        .bind(id)
        .bind(epoch)
        .bind(&publisher.node_id)
        .bind(&publisher.boot_id)
        .bind(&publisher.connection_id)
        .bind(now)
        .bind(stats.map(|stats| stats.bytes_received))
        .bind(stats.map(|stats| stats.bitrate_bps))
        .bind(stats.map(|stats| stats.width))
        .bind(stats.map(|stats| stats.height))
        .bind(stats.map(|stats| stats.fps))
        .bind(stats.map(|stats| &stats.video_codec))
        .bind(stats.map(|stats| &stats.audio_codec))
        .fetch_optional(pool)
        .await)?
        .map(Stream::try_from)
        .transpose()
    }

    /// Notes that a connection is gone. Changes nothing unless it holds the stream.
    pub async fn end(
        &self,
        id: StreamId,
        epoch: i64,
        publisher: &Publisher,
        now: Time,
    ) -> Result<Stream> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let (project_id, revision) = take_revision_of(&mut tx, id).await?;
                let before = load(&mut tx, id)
                    .await?
                    .ok_or_else(|| Error::not_found("stream", id))?;
                connections::leave(&mut tx, publisher, project_id, now).await?;
                if !before.is_held_by(publisher, epoch) {
                    return_revision(&mut tx, project_id).await?;
                    tx.commit().await?;
                    return Ok(before);
                }

                let mut stream = before.clone();
                stream.disconnected(window(&mut tx, project_id).await?, now);
                store(&mut tx, &stream).await?;
                record(&mut tx, revision, Some(&before), &stream, now).await?;
                self.database.commit_change(tx, project_id).await?;
                Ok(stream)
            })
            .await
    }

    /// Forgets connections and boots of before a moment, at most `limit` of each;
    /// tells how many.
    pub async fn purge(database: &Database, before: Time, limit: i64) -> Result<u64> {
        let connections = connections::purge(database, before, limit).await?;
        let boots = node_boots::purge(database, before, limit).await?;
        Ok(connections + boots)
    }

    /// Streams that time may have changed: past a deadline, silent, or published with
    /// a key that counts no more; at most `limit`.
    pub async fn overdue(&self, now: Time, limit: i64) -> Result<Vec<StreamId>> {
        let silent_since = now - self.timeouts.heartbeat;
        Ok(
            on_engine!(self.database.reader(), pool => sqlx::query_scalar::<_, StreamId>(
            "select id
             from streams
             where end_time is null and deadline <= $1
             union
             select id
             from streams
             where end_time is null and last_seen_time <= $2 and status = 'live'
             union
             select id
             from streams
             where end_time is null and key_expire_time <= $1 and connected
             limit $3",
        )
        .bind(now)
        .bind(silent_since)
        .bind(limit)
        .fetch_all(pool)
        .await)?,
        )
    }

    /// Applies to a stream what time has done; `None` if that was nothing, or if
    /// somebody else is at work on its project.
    pub async fn expire(&self, id: StreamId, now: Time) -> Result<Option<Stream>> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let Some((project_id, revision)) = take_free_revision_of(&mut tx, id).await? else {
                    tx.rollback().await?;
                    return Ok(None);
                };
                let before = load(&mut tx, id)
                    .await?
                    .ok_or_else(|| Error::not_found("stream", id))?;
                let mut stream = before.clone();
                if !stream.expire(window(&mut tx, project_id).await?, self.timeouts, now) {
                    tx.rollback().await?;
                    return Ok(None);
                }

                store(&mut tx, &stream).await?;
                record(&mut tx, revision, Some(&before), &stream, now).await?;
                self.database.commit_change(tx, project_id).await?;
                Ok(Some(stream))
            })
            .await
    }
}

pub(crate) async fn window(tx: &mut Transaction, id: ProjectId) -> Result<ReconnectWindow> {
    let millis = on_engine!(tx, tx => {
        sqlx::query_scalar::<_, i64>("select reconnect_window_ms from projects where id = $1")
            .bind(id)
            .fetch_one(&mut **tx)
            .await
    })?;
    window_from_millis(millis)
}
