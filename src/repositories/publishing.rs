//! Streams, as media servers report them.
//!
//! A heartbeat of a live stream changes nothing that is numbered: it is one
//! statement, fenced in its `where`. All else is decided by the domain, on the
//! stream as the transaction sees it while its project is locked.

use sqlx::FromRow;

use super::{
    Database,
    columns::{Timestamp, known},
    engine::Transaction,
    project_rows::window_from_millis,
    revisions::{return_revision, take_revision, take_revision_of},
    stream_rows::{StreamRow, insert, load, not_found, record, running, store},
};
use crate::{
    domain::{
        Admission, EndReason, Heartbeat, ProjectId, PublishConflictPolicy, PublishGate, Publisher,
        ReconnectWindow, SealedPlayUrl, Stats, Stream, StreamId, Time, Timeouts,
    },
    error::{Error, Result},
};

/// Streams, as media servers report them.
#[derive(Debug, Clone)]
pub struct Publishing {
    database: Database,
    timeouts: Timeouts,
}

/// A publisher that asks to be let in.
#[derive(Debug, Clone, Copy)]
pub struct NewPublish<'a> {
    /// SHA-256 of the key that it gave.
    pub key_hash: &'a [u8],
    /// The connection.
    pub publisher: &'a Publisher,
    /// Whether media has been seen already.
    pub media_flowing: bool,
    /// Where its media can be read.
    pub play_url: Option<&'a SealedPlayUrl>,
    /// Whether the connection is known to stand, so that it may come in again
    /// after its stream has ended.
    pub standing: bool,
}

impl Publishing {
    /// Streams in this database, which end when they exceed these times.
    pub fn new(database: Database, timeouts: Timeouts) -> Self {
        Self { database, timeouts }
    }

    /// Accepts or refuses a publisher.
    pub async fn begin(&self, publish: NewPublish<'_>, now: Time) -> Result<Stream> {
        let NewPublish {
            key_hash,
            publisher,
            media_flowing,
            play_url: _,
            standing: _,
        } = publish;
        let mut tx = self.database.begin().await?;
        let (gate, mut revision) = open_gate(&mut tx, key_hash, now)
            .await?
            .ok_or(Error::StreamKeyInvalid)?;
        let running = running(&mut tx, gate.project_id).await?;
        let admission = gate
            .admit(running.as_ref(), publisher, now)
            .map_err(Error::PublishRefused)?;

        let stream = match (admission, running) {
            (Admission::Repeat, Some(before)) => {
                let mut stream = before.clone();
                stream.seen(media_flowing, now);
                store(&mut tx, &stream).await?;
                if stream.status == before.status {
                    return_revision(&mut tx, gate.project_id).await?;
                } else {
                    record(&mut tx, revision, Some(&before), &stream, now).await?;
                }
                stream
            }
            (Admission::Resume, Some(before)) => {
                let mut stream = before.clone();
                stream.resume(publisher.clone(), self.timeouts, now);
                stream.seen(media_flowing, now);
                store(&mut tx, &stream).await?;
                record(&mut tx, revision, Some(&before), &stream, now).await?;
                stream
            }
            (_, running) => {
                if let Some(before) = running {
                    let mut loser = before.clone();
                    loser.end(EndReason::TakenOver, now);
                    store(&mut tx, &loser).await?;
                    record(&mut tx, revision, Some(&before), &loser, now).await?;
                    revision = take_revision(&mut tx, gate.project_id).await?;
                }
                let mut stream =
                    Stream::begin(gate.project_id, publisher.clone(), self.timeouts, now);
                stream.seen(media_flowing, now);
                insert(&mut tx, &stream).await?;
                record(&mut tx, revision, None, &stream, now).await?;
                stream
            }
        };
        self.database.commit_change(tx, gate.project_id).await?;
        Ok(stream)
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

        let mut tx = self.database.begin().await?;
        let (project_id, revision) = take_revision_of(&mut tx, id).await?;
        let before = load(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let verdict = before.verdict(publisher, epoch);
        if verdict != Heartbeat::Continue {
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
                       last_seen_time, deadline, end_time, end_reason, bytes_received,
                       bitrate_bps, width, height, fps, video_codec, audio_codec",
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
        let mut tx = self.database.begin().await?;
        let (project_id, revision) = take_revision_of(&mut tx, id).await?;
        let before = load(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        if !before.is_held_by(publisher, epoch) {
            return Ok(before);
        }

        let mut stream = before.clone();
        stream.disconnected(window(&mut tx, project_id).await?, now);
        store(&mut tx, &stream).await?;
        record(&mut tx, revision, Some(&before), &stream, now).await?;
        self.database.commit_change(tx, project_id).await?;
        Ok(stream)
    }

    /// Streams that time may have changed: past a deadline, or silent; at most `limit`.
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
             limit $3",
        )
        .bind(now)
        .bind(silent_since)
        .bind(limit)
        .fetch_all(pool)
        .await)?,
        )
    }

    /// Applies to a stream what time has done; `None` if that was nothing.
    pub async fn expire(&self, id: StreamId, now: Time) -> Result<Option<Stream>> {
        let mut tx = self.database.begin().await?;
        let (project_id, revision) = take_revision_of(&mut tx, id).await?;
        let before = load(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let mut stream = before.clone();
        if !stream.expire(window(&mut tx, project_id).await?, self.timeouts, now) {
            return Ok(None);
        }

        store(&mut tx, &stream).await?;
        record(&mut tx, revision, Some(&before), &stream, now).await?;
        self.database.commit_change(tx, project_id).await?;
        Ok(Some(stream))
    }
}

/// Locks the project that a stream key opens, and takes its next revision.
async fn open_gate(
    tx: &mut Transaction,
    key_hash: &[u8],
    now: Time,
) -> Result<Option<(PublishGate, i64)>> {
    #[derive(FromRow)]
    struct Gate {
        id: ProjectId,
        disabled: bool,
        publish_held_until: Option<Timestamp>,
        publish_conflict_policy: String,
        revision: i64,
    }

    let gate = on_engine!(tx, tx => sqlx::query_as::<_, Gate>(
        "update projects
         set revision = revision + 1
         where delete_time is null
           and (stream_key_hash = $1
                or previous_key_hash = $1 and previous_key_expire_time > $2)
         returning id, disabled, publish_held_until, publish_conflict_policy, revision",
    )
    .bind(key_hash)
    .bind(now)
    .fetch_optional(&mut **tx)
    .await)?;

    gate.map(|gate| {
        let policy = PublishConflictPolicy::parse(&gate.publish_conflict_policy);
        let revision = gate.revision;
        let gate = PublishGate {
            project_id: gate.id,
            disabled: gate.disabled,
            held_until: gate.publish_held_until,
            policy: known("publish_conflict_policy", policy)?,
        };
        Ok((gate, revision))
    })
    .transpose()
}

async fn window(tx: &mut Transaction, id: ProjectId) -> Result<ReconnectWindow> {
    let millis = on_engine!(tx, tx => {
        sqlx::query_scalar::<_, i64>("select reconnect_window_ms from projects where id = $1")
            .bind(id)
            .fetch_one(&mut **tx)
            .await
    })?;
    window_from_millis(millis)
}
