use sqlx::Row;

use crate::{
    database::{Check, QueueStatements, Transaction},
    domain::{
        Change, EndReason, ProjectId, Publisher, ReconnectWindow, SealedPlayUrl, Stream, StreamId,
        StreamStats, Time,
    },
    error::{Error, Result},
    repositories::{
        projects::{events, rows::take_revision},
        relays::stream_changes,
        sql::{from_json, list_json, to_json},
    },
};

/// The columns of [`Stream`] as they are stored, each after a prefix such as `"t."`.
macro_rules! stored_stream_columns {
    ($prefix:literal) => {
        concat!(
            $crate::repositories::streams::rows::stream_columns_without_time!($prefix),
            ", ",
            $prefix,
            "last_seen_time"
        )
    };
}

macro_rules! stream_columns_without_time {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address,
            protocol, connected, create_time, live_time, deadline, key_expire_time, end_time,
            end_reason, bytes_received, bitrate_bps, width, height, fps, video_codec, audio_codec,
            media, issues
        )
    };
}

/// The columns of [`Stream`], each after a prefix such as `"streams."`, which must not be empty.
/// A connected stream was last seen when its media server last reported all of its connections
/// (`node_boots.sync_time`), if that is later than its own last report.
macro_rules! stream_columns {
    ($prefix:literal) => {
        concat!(
            $crate::repositories::streams::rows::stream_columns_without_time!($prefix),
            ", ",
            $crate::repositories::streams::rows::stream_seen_time!($prefix),
            " as last_seen_time"
        )
    };
}

/// When a stream was last seen: see [`stream_columns`].
macro_rules! stream_seen_time {
    ($prefix:literal) => {
        concat!(
            "coalesce((
                 select o.sync_time
                 from node_boots o
                 where ",
            $prefix,
            "connected and o.node_id = ",
            $prefix,
            "node_id and o.boot_id = ",
            $prefix,
            "boot_id and o.sync_time > ",
            $prefix,
            "last_seen_time), ",
            $prefix,
            "last_seen_time)"
        )
    };
}
pub(crate) use {
    stored_stream_columns, stream_columns, stream_columns_without_time, stream_seen_time,
};

/// Ends the active stream of a locked project; returns whether there was one.
pub(crate) async fn end_active(
    tx: &mut Transaction,
    project_id: ProjectId,
    reason: EndReason,
    now: Time,
) -> Result<bool> {
    let Some(before) = load_active(tx, project_id).await? else {
        return Ok(false);
    };
    let revision = take_revision(tx, project_id).await?;
    end(tx, before, reason, revision, now).await?;
    Ok(true)
}

/// Ends the active stream of a locked project, and stops its relays that still send the rest of an
/// earlier one; returns whether there was one of these.
pub(crate) async fn end_all(
    tx: &mut Transaction,
    project_id: ProjectId,
    reason: EndReason,
    now: Time,
) -> Result<bool> {
    let drained = stream_changes::stop_all_draining(tx, project_id, now).await?;
    Ok(end_active(tx, project_id, reason, now).await? || drained)
}

/// Ends a stream of a locked project, with this revision.
pub(super) async fn end(
    tx: &mut Transaction,
    before: Stream,
    reason: EndReason,
    revision: i64,
    now: Time,
) -> Result<()> {
    let mut ended = before.clone();
    ended.end(reason, now);
    store_change(tx, revision, &before, &ended, now).await
}

/// Writes a changed stream of a locked project, and the event of its change.
pub(super) async fn store_change(
    tx: &mut Transaction,
    revision: i64,
    before: &Stream,
    stream: &Stream,
    now: Time,
) -> Result<()> {
    store(tx, stream).await?;
    record(tx, revision, Some(before), stream, now).await
}

/// Writes the event of a stream's change, and updates its relays.
pub(crate) async fn record(
    tx: &mut Transaction,
    revision: i64,
    before: Option<&Stream>,
    stream: &Stream,
    now: Time,
) -> Result<()> {
    let change = Change::Stream(stream.clone());
    events::record(tx, stream.project_id, revision, &change, now).await?;
    stream_changes::update_relays(tx, before, stream, now).await
}

/// Locks the project of a stream and takes its next revision; returns both.
pub(crate) async fn lock_project_of(
    tx: &mut Transaction,
    id: StreamId,
) -> Result<(ProjectId, i64)> {
    fetch_optional!(
        tx,
        "update projects
         set revision = revision + 1
         where id = (select project_id from streams where id = $1)
         returning id, revision",
        [id]
    )?
    .ok_or_else(|| Error::not_found("stream", id))
}

/// The reconnect window of a project.
pub(super) async fn reconnect_window(
    tx: &mut Transaction,
    id: ProjectId,
) -> Result<ReconnectWindow> {
    fetch_scalar!(
        tx,
        "select reconnect_window_ms from projects where id = $1",
        [id]
    )
}

/// The active stream of a project: the one that has not ended.
pub(crate) async fn load_active(
    tx: &mut Transaction,
    project_id: ProjectId,
) -> Result<Option<Stream>> {
    fetch_optional!(
        tx,
        concat!(
            "select ",
            stream_columns!("streams."),
            " from streams
             where project_id = $1 and end_time is null",
        ),
        [project_id]
    )
}

/// A stream, locked for a change against concurrent heartbeats.
pub(crate) async fn load(tx: &mut Transaction, id: StreamId) -> Result<Stream> {
    fetch_optional!(
        tx,
        concat!(
            "update streams set epoch = epoch where id = $1 returning ",
            stream_columns!("streams.")
        ),
        [id]
    )?
    .ok_or_else(|| Error::not_found("stream", id))
}

/// Inserts a stream that has just begun.
pub(crate) async fn insert(tx: &mut impl QueueStatements, stream: &Stream) -> Result<()> {
    queue!(
        tx,
        "insert into streams
             (id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address,
              protocol, connected, create_time, live_time, last_seen_time, deadline,
              key_expire_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        [
            stream.id,
            stream.project_id,
            stream.state.as_str(),
            stream.epoch,
            &stream.publisher.node_id,
            &stream.publisher.boot_id,
            &stream.publisher.connection_id,
            &stream.publisher.peer_address,
            stream.publisher.protocol.as_str(),
            stream.connected,
            stream.create_time,
            stream.live_time,
            stream.last_seen_time,
            stream.deadline,
            stream.key_expire_time
        ],
        Check::default()
    )
}

/// Writes the mutable columns of a stream whose project is locked.
pub(crate) async fn store(tx: &mut impl QueueStatements, stream: &Stream) -> Result<()> {
    let stats = stream.stats.as_ref();
    let media = stats.map(|stats| to_json(&stats.media)).transpose()?;
    let issues = list_json(&stream.issues)?;
    queue!(
        tx,
        "update streams
         set status = $2, epoch = $3, node_id = $4, boot_id = $5, connection_id = $6,
             peer_address = $7, protocol = $8, connected = $9, live_time = $10,
             last_seen_time = $11, deadline = $12, end_time = $13, end_reason = $14,
             bytes_received = $15, bitrate_bps = $16, width = $17, height = $18, fps = $19,
             video_codec = $20, audio_codec = $21, key_expire_time = $22, media = $23,
             issues = $24,
             play_url_id = case when $2 = 'ended' then null else play_url_id end,
             play_url_sealed = case when $2 = 'ended' then null else play_url_sealed end
         where id = $1",
        [
            stream.id,
            stream.state.as_str(),
            stream.epoch,
            &stream.publisher.node_id,
            &stream.publisher.boot_id,
            &stream.publisher.connection_id,
            &stream.publisher.peer_address,
            stream.publisher.protocol.as_str(),
            stream.connected,
            stream.live_time,
            stream.last_seen_time,
            stream.deadline,
            stream.end_time,
            stream.end_reason.map(EndReason::as_str),
            stats.map(|stats| stats.bytes_received),
            stats.map(|stats| stats.bitrate_bps),
            stats.map(|stats| stats.width),
            stats.map(|stats| stats.height),
            stats.map(|stats| stats.fps),
            stats.map(|stats| &stats.video_codec),
            stats.map(|stats| &stats.audio_codec),
            stream.key_expire_time,
            media,
            issues
        ],
        Check::default()
    )
}

/// Stores the play URL of a stream's newest connection.
pub(crate) async fn store_play_url(
    tx: &mut impl QueueStatements,
    id: StreamId,
    play_url: Option<&SealedPlayUrl>,
) -> Result<()> {
    queue!(
        tx,
        "update streams set play_url_id = $2, play_url_sealed = $3 where id = $1",
        [
            id,
            play_url.map(|url| url.id),
            play_url.map(|url| &url.sealed)
        ],
        Check::default()
    )
}

impl_from_row!(Publisher: node_id, boot_id, connection_id, peer_address, protocol);

impl_from_row!(
    StreamStats:
    bytes_received, bitrate_bps, width, height, fps, video_codec, audio_codec;
    |row|
    media: from_json(row.try_get("media")?)?,
);

impl_from_row!(
    Stream:
    id, project_id, epoch, connected, create_time, live_time, last_seen_time, deadline,
    key_expire_time, end_time, end_reason;
    |row|
    state: row.try_get("status")?,
    publisher: Publisher::from_row(row)?,
    stats: match row.try_get("bytes_received")? {
        None::<i64> => None,
        Some(_) => Some(StreamStats::from_row(row)?),
    },
    issues: from_json(row.try_get("issues")?)?,
);
