//! The streams of one media server.
//!
//! What it says of all of its connections goes into one statement, as JSON that
//! both engines read as a table, so that the usual report costs the same for
//! any number of them.

use std::collections::HashSet;

use serde::Serialize;

use super::{
    node_boots,
    publishing::window,
    revisions::take_revision_of,
    rows::{StreamRow, load, record, store},
};
use crate::{
    database::{Database, Engine},
    domain::{
        ConnectionReport, EndReason, NodeReport, ReconnectWindow, Stats, Stream, StreamId, Time,
    },
    error::{Error, Result},
};

/// The streams of media servers.
#[derive(Debug, Clone)]
pub struct NodeStreams {
    database: Database,
}

/// A connection that holds a stream, as a statement reads it.
#[derive(Serialize)]
struct HeldRow<'a> {
    id: String,
    epoch: i64,
    connection_id: &'a str,
    media_flows: bool,
    #[serde(flatten)]
    stats: Option<&'a Stats>,
}

/// A connection that holds none.
#[derive(Serialize)]
struct StrangerRow<'a> {
    stream_id: Option<String>,
    connection_id: &'a str,
}

impl NodeStreams {
    /// Streams in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Takes note of the boot that reports; `NodeSuperseded` if a later one has.
    pub async fn enter(&self, report: &NodeReport, now: Time) -> Result<()> {
        node_boots::enter(&self.database, &report.node_id, &report.boot_id, now).await
    }

    /// The streams that a connection of a media server is believed to hold, in
    /// the order of their ids.
    pub async fn connected(&self, node_id: &str) -> Result<Vec<Stream>> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, StreamRow>(
            "select id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address,
                    protocol, connected, create_time, live_time, last_seen_time, deadline,
                    key_expire_time, end_time, end_reason, bytes_received, bitrate_bps, width,
                    height, fps, video_codec, audio_codec
             from streams
             where node_id = $1 and end_time is null and connected
             order by id",
        )
        .bind(node_id)
        .fetch_all(pool)
        .await)?
        .into_iter()
        .map(Stream::try_from)
        .collect()
    }

    /// Notes that connections stand, each of which holds a stream whose status
    /// stays as it is; tells of which streams that is still true.
    pub async fn refresh(
        &self,
        report: &NodeReport,
        held: &[(&ConnectionReport, Stream)],
        now: Time,
    ) -> Result<HashSet<StreamId>> {
        let rows: Vec<_> = held
            .iter()
            .map(|(report, stream)| HeldRow::new(report, stream))
            .collect();
        // In one order, so that two reports at once do not wait for each other.
        let sql = match self.database.writer() {
            Engine::Postgres(_) => {
                "with held as materialized (
                     select s.id, r.bytes_received, r.bitrate_bps, r.width, r.height, r.fps,
                            r.video_codec, r.audio_codec
                     from json_to_recordset($1::json) as r(
                         id uuid, epoch bigint, connection_id text, media_flows boolean,
                         bytes_received bigint, bitrate_bps bigint, width integer,
                         height integer, fps double precision, video_codec text,
                         audio_codec text)
                     join streams s on s.id = r.id
                     where s.epoch = r.epoch and s.node_id = $2 and s.boot_id = $3
                       and s.connection_id = r.connection_id and s.connected
                       and (s.status = 'live' or s.status = 'connecting' and not r.media_flows)
                     order by s.id
                     for no key update of s)
                 update streams
                 set last_seen_time = $4,
                     bytes_received = coalesce(held.bytes_received, streams.bytes_received),
                     bitrate_bps = coalesce(held.bitrate_bps, streams.bitrate_bps),
                     width = coalesce(held.width, streams.width),
                     height = coalesce(held.height, streams.height),
                     fps = coalesce(held.fps, streams.fps),
                     video_codec = coalesce(held.video_codec, streams.video_codec),
                     audio_codec = coalesce(held.audio_codec, streams.audio_codec)
                 from held
                 where streams.id = held.id
                 returning streams.id"
            }
            Engine::Sqlite(_) => {
                "update streams
                 set last_seen_time = $4,
                     bytes_received = coalesce(r.bytes_received, streams.bytes_received),
                     bitrate_bps = coalesce(r.bitrate_bps, streams.bitrate_bps),
                     width = coalesce(r.width, streams.width),
                     height = coalesce(r.height, streams.height),
                     fps = coalesce(r.fps, streams.fps),
                     video_codec = coalesce(r.video_codec, streams.video_codec),
                     audio_codec = coalesce(r.audio_codec, streams.audio_codec)
                 from (
                     select unhex(value ->> 'id') as id, value ->> 'epoch' as epoch,
                            value ->> 'connection_id' as connection_id,
                            value ->> 'media_flows' as media_flows,
                            value ->> 'bytes_received' as bytes_received,
                            value ->> 'bitrate_bps' as bitrate_bps,
                            value ->> 'width' as width, value ->> 'height' as height,
                            value ->> 'fps' as fps, value ->> 'video_codec' as video_codec,
                            value ->> 'audio_codec' as audio_codec
                     from json_each($1)) as r
                 where streams.id = r.id and streams.epoch = r.epoch
                   and streams.node_id = $2 and streams.boot_id = $3
                   and streams.connection_id = r.connection_id and connected
                   and (status = 'live' or status = 'connecting' and not r.media_flows)
                 returning id"
            }
        };
        let refreshed = on_engine!(self.database.writer(), pool => {
            sqlx::query_scalar::<_, StreamId>(sql)
                .bind(json(&rows)?)
                .bind(&report.node_id)
                .bind(&report.boot_id)
                .bind(now)
                .fetch_all(pool)
                .await
        })?;
        Ok(refreshed.into_iter().collect())
    }

    /// The streams that these connections name, and those that they published,
    /// in the order of their ids.
    pub async fn published_by(
        &self,
        report: &NodeReport,
        strangers: &[&ConnectionReport],
    ) -> Result<Vec<Stream>> {
        let rows: Vec<_> = strangers
            .iter()
            .map(|report| StrangerRow::new(report))
            .collect();
        let sql = match self.database.reader() {
            Engine::Postgres(_) => {
                "with strangers as materialized (
                     select stream_id, connection_id
                     from json_to_recordset($1::json) as r(stream_id uuid, connection_id text))
                 select id, project_id, status, epoch, node_id, boot_id, connection_id,
                        peer_address, protocol, connected, create_time, live_time,
                        last_seen_time, deadline, key_expire_time, end_time, end_reason,
                        bytes_received, bitrate_bps, width, height, fps, video_codec,
                        audio_codec
                 from streams
                 where id in (
                     select stream_id
                     from strangers
                     where stream_id is not null
                     union
                     select s.id
                     from strangers r
                     join streams s on s.node_id = $2 and s.boot_id = $3
                                   and s.connection_id = r.connection_id)
                 order by id"
            }
            Engine::Sqlite(_) => {
                "with strangers as materialized (
                     select unhex(value ->> 'stream_id') as stream_id,
                            value ->> 'connection_id' as connection_id
                     from json_each($1))
                 select id, project_id, status, epoch, node_id, boot_id, connection_id,
                        peer_address, protocol, connected, create_time, live_time,
                        last_seen_time, deadline, key_expire_time, end_time, end_reason,
                        bytes_received, bitrate_bps, width, height, fps, video_codec,
                        audio_codec
                 from streams
                 where id in (
                     select stream_id
                     from strangers
                     where stream_id is not null
                     union
                     select s.id
                     from strangers r
                     join streams s on s.node_id = $2 and s.boot_id = $3
                                   and s.connection_id = r.connection_id)
                 order by id"
            }
        };
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, StreamRow>(sql)
            .bind(json(&rows)?)
            .bind(&report.node_id)
            .bind(&report.boot_id)
            .fetch_all(pool)
            .await)?
        .into_iter()
        .map(Stream::try_from)
        .collect()
    }

    /// Notes that the boot is gone that held a stream; `None` if it has not held it any more.
    pub async fn lose(&self, held: &Stream, now: Time) -> Result<Option<Stream>> {
        self.change(held, now, |stream, window| {
            stream.lost(EndReason::NodeLost, window, now)
        })
        .await
    }

    /// Notes that a connection is gone; `None` if it has not held the stream any more.
    pub async fn disconnect(&self, held: &Stream, now: Time) -> Result<Option<Stream>> {
        self.change(held, now, |stream, window| {
            stream.lost(EndReason::PublisherEnded, window, now)
        })
        .await
    }

    /// Changes a stream unless it is held otherwise than it was.
    async fn change(
        &self,
        held: &Stream,
        now: Time,
        change: impl Fn(&mut Stream, ReconnectWindow),
    ) -> Result<Option<Stream>> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let (project_id, revision) = match take_revision_of(&mut tx, held.id).await {
                    Err(Error::NotFound { .. }) => {
                        tx.rollback().await?;
                        return Ok(None);
                    }
                    taken => taken?,
                };
                let before = load(&mut tx, held.id).await?;
                let Some(before) = before.filter(|now| now.is_held_by(&held.publisher, held.epoch))
                else {
                    tx.rollback().await?;
                    return Ok(None);
                };

                let mut stream = before.clone();
                change(&mut stream, window(&mut tx, project_id).await?);
                store(&mut tx, &stream).await?;
                record(&mut tx, revision, Some(&before), &stream, now).await?;
                self.database.commit_change(tx, project_id).await?;
                Ok(Some(stream))
            })
            .await
    }
}

impl<'a> HeldRow<'a> {
    fn new(report: &'a ConnectionReport, stream: &Stream) -> Self {
        Self {
            id: hex(stream.id),
            epoch: stream.epoch,
            connection_id: &report.publisher.connection_id,
            media_flows: report.media_flows(),
            stats: report.stats.as_ref(),
        }
    }
}

impl<'a> StrangerRow<'a> {
    fn new(report: &'a ConnectionReport) -> Self {
        Self {
            stream_id: report.named.map(|(id, _)| hex(id)),
            connection_id: &report.publisher.connection_id,
        }
    }
}

/// An id as both engines can read it from JSON.
fn hex(id: StreamId) -> String {
    id.uuid().simple().to_string()
}

fn json(rows: &[impl Serialize]) -> Result<String> {
    serde_json::to_string(rows).map_err(Error::internal)
}
