//! The table `streams`, row by row, within a transaction of whoever changes it.

use sqlx::FromRow;

use crate::{
    database::{Timestamp, Transaction, known},
    domain::{
        Change, EndReason, IngestProtocol, ProjectId, Publisher, SealedPlayUrl, Stats, Status,
        Stream, StreamId, Time,
    },
    error::{Error, Result},
    repositories::{
        projects::{events, revisions::take_revision},
        relays::rows as relay_rows,
    },
};

/// A row of the table `streams`.
#[derive(FromRow)]
pub(crate) struct StreamRow {
    id: StreamId,
    project_id: ProjectId,
    status: String,
    epoch: i64,
    node_id: String,
    boot_id: String,
    connection_id: String,
    peer_address: String,
    protocol: String,
    connected: bool,
    create_time: Timestamp,
    live_time: Option<Timestamp>,
    last_seen_time: Timestamp,
    deadline: Option<Timestamp>,
    key_expire_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    end_reason: Option<String>,
    bytes_received: Option<i64>,
    bitrate_bps: Option<i64>,
    width: Option<i32>,
    height: Option<i32>,
    fps: Option<f64>,
    video_codec: Option<String>,
    audio_codec: Option<String>,
}

/// Ends the stream of a locked project that has not ended; tells whether there was one.
pub(crate) async fn end_running(
    tx: &mut Transaction,
    project_id: ProjectId,
    reason: EndReason,
    now: Time,
) -> Result<bool> {
    let Some(before) = running(tx, project_id).await? else {
        return Ok(false);
    };
    let mut stream = before.clone();
    stream.end(reason, now);
    store(tx, &stream).await?;
    let revision = take_revision(tx, project_id).await?;
    record(tx, revision, Some(&before), &stream, now).await?;
    Ok(true)
}

/// Writes the event of a stream's change, and lets its relays follow.
pub(crate) async fn record(
    tx: &mut Transaction,
    revision: i64,
    before: Option<&Stream>,
    stream: &Stream,
    now: Time,
) -> Result<()> {
    let change = Change::Stream(stream.clone());
    events::record(tx, stream.project_id, revision, &change, now).await?;
    relay_rows::follow(tx, before, stream, now).await
}

/// The stream of a project that has not ended.
pub(crate) async fn running(tx: &mut Transaction, project_id: ProjectId) -> Result<Option<Stream>> {
    on_engine!(tx, tx => sqlx::query_as::<_, StreamRow>(
        "select id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address,
                protocol, connected, create_time, live_time, last_seen_time, deadline,
                key_expire_time, end_time, end_reason, bytes_received, bitrate_bps, width, height, fps, video_codec,
                audio_codec
         from streams
         where project_id = $1 and end_time is null",
    )
    .bind(project_id)
    .fetch_optional(&mut **tx)
    .await)?
    .map(Stream::try_from)
    .transpose()
}

/// A stream for a change, locked, so that no heartbeat comes in between.
pub(crate) async fn load(tx: &mut Transaction, id: StreamId) -> Result<Option<Stream>> {
    on_engine!(tx, tx => sqlx::query_as::<_, StreamRow>(
        "update streams
         set epoch = epoch
         where id = $1
         returning id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address,
                   protocol, connected, create_time, live_time, last_seen_time, deadline,
                   key_expire_time, end_time, end_reason, bytes_received, bitrate_bps, width, height, fps,
                   video_codec, audio_codec",
    )
    .bind(id)
    .fetch_optional(&mut **tx)
    .await)?
    .map(Stream::try_from)
    .transpose()
}

/// Writes a stream that has just begun.
pub(crate) async fn insert(tx: &mut Transaction, stream: &Stream) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "insert into streams
             (id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address,
              protocol, connected, create_time, live_time, last_seen_time, deadline,
              key_expire_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(stream.id)
    .bind(stream.project_id)
    .bind(stream.status.as_str())
    .bind(stream.epoch)
    .bind(&stream.publisher.node_id)
    .bind(&stream.publisher.boot_id)
    .bind(&stream.publisher.connection_id)
    .bind(&stream.publisher.peer_address)
    .bind(stream.publisher.protocol.as_str())
    .bind(stream.connected)
    .bind(stream.create_time)
    .bind(stream.live_time)
    .bind(stream.last_seen_time)
    .bind(stream.deadline)
    .bind(stream.key_expire_time)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

/// Writes all that can change of a stream whose project is locked.
pub(crate) async fn store(tx: &mut Transaction, stream: &Stream) -> Result<()> {
    let stats = stream.stats.as_ref();
    on_engine!(tx, tx => sqlx::query(
        "update streams
         set status = $2, epoch = $3, node_id = $4, boot_id = $5, connection_id = $6,
             peer_address = $7, protocol = $8, connected = $9, live_time = $10,
             last_seen_time = $11, deadline = $12, end_time = $13, end_reason = $14,
             bytes_received = $15, bitrate_bps = $16, width = $17, height = $18, fps = $19,
             video_codec = $20, audio_codec = $21, key_expire_time = $22,
             play_url_id = case when $2 = 'ended' then null else play_url_id end,
             play_url_sealed = case when $2 = 'ended' then null else play_url_sealed end
         where id = $1",
    )
    .bind(stream.id)
    .bind(stream.status.as_str())
    .bind(stream.epoch)
    .bind(&stream.publisher.node_id)
    .bind(&stream.publisher.boot_id)
    .bind(&stream.publisher.connection_id)
    .bind(&stream.publisher.peer_address)
    .bind(stream.publisher.protocol.as_str())
    .bind(stream.connected)
    .bind(stream.live_time)
    .bind(stream.last_seen_time)
    .bind(stream.deadline)
    .bind(stream.end_time)
    .bind(stream.end_reason.map(EndReason::as_str))
    .bind(stats.map(|stats| stats.bytes_received))
    .bind(stats.map(|stats| stats.bitrate_bps))
    .bind(stats.map(|stats| stats.width))
    .bind(stats.map(|stats| stats.height))
    .bind(stats.map(|stats| stats.fps))
    .bind(stats.map(|stats| &stats.video_codec))
    .bind(stats.map(|stats| &stats.audio_codec))
    .bind(stream.key_expire_time)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

/// Keeps where the media of a stream's newest connection can be read.
pub(crate) async fn store_play_url(
    tx: &mut Transaction,
    id: StreamId,
    play_url: Option<&SealedPlayUrl>,
) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "update streams set play_url_id = $2, play_url_sealed = $3 where id = $1",
    )
    .bind(id)
    .bind(play_url.map(|url| url.id))
    .bind(play_url.map(|url| &url.sealed))
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

impl TryFrom<StreamRow> for Stream {
    type Error = Error;

    fn try_from(row: StreamRow) -> Result<Self> {
        let StreamRow {
            id,
            project_id,
            status,
            epoch,
            node_id,
            boot_id,
            connection_id,
            peer_address,
            protocol,
            connected,
            create_time,
            live_time,
            last_seen_time,
            deadline,
            key_expire_time,
            end_time,
            end_reason,
            bytes_received,
            bitrate_bps,
            width,
            height,
            fps,
            video_codec,
            audio_codec,
        } = row;

        let protocol = known("protocol", IngestProtocol::parse(&protocol))?;
        let end_reason = end_reason
            .map(|reason| known("end_reason", EndReason::parse(&reason)))
            .transpose()?;
        let stats = bytes_received.map(|bytes_received| Stats {
            bytes_received,
            bitrate_bps: bitrate_bps.unwrap_or_default(),
            width: width.unwrap_or_default(),
            height: height.unwrap_or_default(),
            fps: fps.unwrap_or_default(),
            video_codec: video_codec.unwrap_or_default(),
            audio_codec: audio_codec.unwrap_or_default(),
        });
        Ok(Self {
            id,
            project_id,
            status: known("status", Status::parse(&status))?,
            epoch,
            publisher: Publisher {
                node_id,
                boot_id,
                connection_id,
                peer_address,
                protocol,
            },
            connected,
            create_time,
            live_time,
            last_seen_time,
            deadline,
            key_expire_time,
            end_time,
            end_reason,
            stats,
        })
    }
}
