//! The streams of a media server, for SyncNode.
//!
//! The report of all connections is one parameter of one statement: JSON, which both
//! engines read as a table. So a typical report needs the same number of statements for any
//! number of connections.

use std::collections::HashSet;

use serde::Serialize;
use uuid::fmt::Simple;

use super::{
    Publishing, node_boots,
    rows::{
        load, lock_project_of, reconnect_window, store_change, stored_stream_columns,
        stream_columns,
    },
};
use crate::{
    database::Engine,
    domain::{EndReason, NodeConnection, NodeReport, Stream, StreamId, StreamStats, Time},
    error::{Error, Result},
};

/// A connection that holds a stream, as JSON.
#[derive(Serialize)]
struct HolderRow<'a> {
    id: Simple,
    epoch: i64,
    connection_id: &'a str,
    media_flows: bool,
    #[serde(flatten)]
    stats: Option<&'a StreamStats>,
}

/// A connection that holds no stream, as JSON.
#[derive(Serialize)]
struct UnmatchedRow<'a> {
    stream_id: Option<Simple>,
    connection_id: &'a str,
}

/// Selects the streams that unmatched connections report or have published. `$unmatched`
/// selects [`UnmatchedRow`]s from the parameter `$1`. With `$4`, streams that belong to other media
/// servers only are left out, as [`ReportedStream`](super::reported_stream::ReportedStream) says.
macro_rules! select_published {
    ($unmatched:literal) => {
        concat!(
            "with unmatched as materialized (",
            $unmatched,
            ") select ",
            stream_columns!("streams."),
            " from streams
             where id in (
                 select s.id
                 from unmatched r
                 join streams s on s.id = r.stream_id
                 where not $4 or s.node_id = $2 or exists (
                     select 1
                     from publishes c
                     where c.node_id = $2 and c.boot_id = $3
                       and c.connection_id = r.connection_id and c.project_id = s.project_id)
                 union
                 select s.id
                 from unmatched r
                 join streams s on s.node_id = $2 and s.boot_id = $3
                               and s.connection_id = r.connection_id)
             order by id"
        )
    };
}

impl Publishing {
    /// Registers the reporting boot. `NodeSuperseded` if a later one has registered.
    pub async fn register_boot(&self, report: &NodeReport, now: Time) -> Result<()> {
        node_boots::register(&self.database, &report.node_id, &report.boot_id, now).await
    }

    /// The streams that connections of a media server hold, as far as is known, in the order
    /// of their ids. Each was last seen when it was last written ([`Self::refresh`]).
    pub async fn list_connected(&self, node_id: &str) -> Result<Vec<Stream>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                stored_stream_columns!("streams."),
                " from streams
                 where node_id = $1 and end_time is null and connected
                 order by id",
            ),
            [node_id]
        )
    }

    /// Refreshes streams that their connections hold and whose status does not change. Returns
    /// the ids of those that are still held.
    ///
    /// The row of the boot tells that all of its connected streams are seen. Only streams with
    /// other statistics are written.
    pub async fn refresh(
        &self,
        report: &NodeReport,
        held: &[(&NodeConnection, Stream)],
        now: Time,
    ) -> Result<HashSet<StreamId>> {
        let old = match self.record_sync(report, now).await? {
            true => Time::UNIX_EPOCH,
            // Without its row, every stream needs its own time.
            false => now,
        };
        let (written, unchanged): (Vec<_>, Vec<_>) = held.iter().partition(|(report, stream)| {
            report.has_other_stats(stream) || stream.last_seen_time <= old
        });
        let mut refreshed: HashSet<_> = unchanged.iter().map(|(_, stream)| stream.id).collect();
        if !written.is_empty() {
            refreshed.extend(self.store_reported(report, &written, old, now).await?);
        }
        Ok(refreshed)
    }

    /// Records that a boot has reported all of its connections. `false` if its row is gone.
    async fn record_sync(&self, report: &NodeReport, now: Time) -> Result<bool> {
        let recorded = rows_affected!(
            self.database.writer(),
            "update node_boots
             set sync_time = case when sync_time > $3 then sync_time else $3 end
             where node_id = $1 and boot_id = $2",
            [&report.node_id, &report.boot_id, now]
        )?;
        Ok(recorded > 0)
    }

    /// Writes the statistics of streams that their connections still hold, and the times of
    /// those that were seen before `old`. Returns the ids of the written streams.
    ///
    /// The other times stay: PostgreSQL then updates no index (HOT).
    async fn store_reported(
        &self,
        report: &NodeReport,
        held: &[&(&NodeConnection, Stream)],
        old: Time,
        now: Time,
    ) -> Result<Vec<StreamId>> {
        let rows = held.iter().map(|(report, stream)| HolderRow {
            id: stream.id.uuid().simple(),
            epoch: stream.epoch,
            connection_id: &report.publisher.connection_id,
            media_flows: report.media_flows(),
            stats: report.stats.as_ref(),
        });
        // Locks the rows in one order, so that concurrent reports do not deadlock.
        let sql = match self.database.writer() {
            Engine::Postgres(_) => {
                "with held as materialized (
                     select s.id, r.bytes_received, r.bitrate_bps, r.width, r.height, r.fps,
                            r.video_codec, r.audio_codec, r.media::text as media
                     from json_to_recordset($1::json) as r(
                         id uuid, epoch bigint, connection_id text, media_flows boolean,
                         bytes_received bigint, bitrate_bps bigint, width integer,
                         height integer, fps double precision, video_codec text,
                         audio_codec text, media json)
                     join streams s on s.id = r.id
                     where s.epoch = r.epoch and s.node_id = $2 and s.boot_id = $3
                       and s.connection_id = r.connection_id and s.connected
                       and (s.status = 'live' or s.status = 'connecting' and not r.media_flows)
                     order by s.id
                     for no key update of s)
                 update streams
                 set last_seen_time = case when streams.last_seen_time <= $5
                         then $4 else streams.last_seen_time end,
                     bytes_received = coalesce(held.bytes_received, streams.bytes_received),
                     bitrate_bps = coalesce(held.bitrate_bps, streams.bitrate_bps),
                     width = coalesce(held.width, streams.width),
                     height = coalesce(held.height, streams.height),
                     fps = coalesce(held.fps, streams.fps),
                     video_codec = coalesce(held.video_codec, streams.video_codec),
                     audio_codec = coalesce(held.audio_codec, streams.audio_codec),
                     media = coalesce(held.media, streams.media)
                 from held
                 where streams.id = held.id
                 returning streams.id"
            }
            Engine::Sqlite(_) => {
                "update streams
                 set last_seen_time = case when streams.last_seen_time <= $5
                         then $4 else streams.last_seen_time end,
                     bytes_received = coalesce(r.bytes_received, streams.bytes_received),
                     bitrate_bps = coalesce(r.bitrate_bps, streams.bitrate_bps),
                     width = coalesce(r.width, streams.width),
                     height = coalesce(r.height, streams.height),
                     fps = coalesce(r.fps, streams.fps),
                     video_codec = coalesce(r.video_codec, streams.video_codec),
                     audio_codec = coalesce(r.audio_codec, streams.audio_codec),
                     media = coalesce(r.media, streams.media)
                 from (
                     select unhex(value ->> 'id') as id, value ->> 'epoch' as epoch,
                            value ->> 'connection_id' as connection_id,
                            value ->> 'media_flows' as media_flows,
                            value ->> 'bytes_received' as bytes_received,
                            value ->> 'bitrate_bps' as bitrate_bps,
                            value ->> 'width' as width, value ->> 'height' as height,
                            value ->> 'fps' as fps, value ->> 'video_codec' as video_codec,
                            value ->> 'audio_codec' as audio_codec,
                            value -> 'media' as media
                     from json_each($1)) as r
                 where streams.id = r.id and streams.epoch = r.epoch
                   and streams.node_id = $2 and streams.boot_id = $3
                   and streams.connection_id = r.connection_id and connected
                   and (status = 'live' or status = 'connecting' and not r.media_flows)
                 returning id"
            }
        };
        fetch_scalars!(
            self.database.writer(),
            sql,
            [json(rows)?, &report.node_id, &report.boot_id, now, old]
        )
    }

    /// The streams whose ids these connections report, and the streams that they published,
    /// in the order of their ids. A caller that is bound to a media server finds no streams of
    /// others.
    pub async fn published_by(
        &self,
        report: &NodeReport,
        unmatched: &[&NodeConnection],
    ) -> Result<Vec<Stream>> {
        let rows = unmatched.iter().map(|report| UnmatchedRow {
            stream_id: report.known_stream.map(|(id, _)| id.uuid().simple()),
            connection_id: &report.publisher.connection_id,
        });
        let sql = match self.database.reader() {
            Engine::Postgres(_) => select_published!(
                "select stream_id, connection_id
                 from json_to_recordset($1::json) as r(stream_id uuid, connection_id text)"
            ),
            Engine::Sqlite(_) => select_published!(
                "select unhex(value ->> 'stream_id') as stream_id,
                        value ->> 'connection_id' as connection_id
                 from json_each($1)"
            ),
        };
        fetch_all!(
            self.database.reader(),
            sql,
            [
                json(rows)?,
                &report.node_id,
                &report.boot_id,
                self.bound_node.is_some()
            ]
        )
    }

    /// Disconnects a stream if the connection of `held` still holds it; else `None`.
    pub async fn mark_lost(
        &self,
        held: &Stream,
        reason: EndReason,
        now: Time,
    ) -> Result<Option<Stream>> {
        self.database
            .transaction(|mut tx| async move {
                let (project_id, revision) = match lock_project_of(&mut tx, held.id).await {
                    Err(Error::NotFound { .. }) => {
                        return tx.rollback(None).await;
                    }
                    locked => locked?,
                };
                let before = load(&mut tx, held.id).await?;
                if !before.is_held_by(&held.publisher, held.epoch) {
                    return tx.rollback(None).await;
                }

                let mut stream = before.clone();
                let window = reconnect_window(&mut tx, project_id).await?;
                stream.lose_connection(reason, window, now);
                store_change(&mut tx, revision, &before, &stream, now).await?;
                self.database.commit_change(tx, project_id).await?;
                Ok(Some(stream))
            })
            .await
    }
}

fn json(rows: impl Iterator<Item = impl Serialize>) -> Result<String> {
    serde_json::to_string(&rows.collect::<Vec<_>>()).map_err(Error::internal)
}
