//! Streams, as media servers report them.
//!
//! A heartbeat that changes no status takes no revision: it is one statement, whose `where`
//! clause is the fence. The domain decides everything else, on what one statement reads, and
//! [`PublishChanges`] writes it if nothing has changed meanwhile.

use sqlx::{FromRow, Row};

use super::{
    connections, node_boots,
    publish_changes::{
        ConnectionChange, PublishChanges, PublishState, destination_ids, load_relays, lock,
    },
    rows::{stored_stream_columns, stream_columns},
};
use crate::{
    database::{Batch, Database, DeletedBatch, Engine, Transaction},
    domain::{
        NodeId, ProjectId, PublishAction, Publisher, ReconnectWindow, Relay, Stream, StreamId,
        StreamState, StreamStats, StreamTimeouts, Time,
    },
    error::{Error, Result},
    repositories::Refusals,
};

/// Streams, as media servers report them.
#[derive(Debug, Clone)]
pub struct Publishing {
    pub(crate) database: Database,
    pub(super) refusals: Refusals,
    pub(crate) timeouts: StreamTimeouts,
    /// The only media server that reports, if the caller is bound to one.
    bound_node: Option<NodeId>,
}

/// A connection, as it reports itself.
#[derive(Debug, Clone, Copy)]
struct ConnectionReport<'a> {
    stream_id: StreamId,
    epoch: i64,
    publisher: &'a Publisher,
    media_flows: bool,
    stats: Option<&'a StreamStats>,
    now: Time,
}

/// A stream and its project, as the report of a connection finds them.
#[derive(Debug)]
struct ReportedStream {
    state: PublishState,
    stream: Stream,
    window: ReconnectWindow,
    /// Whether the stream belongs to other media servers only: this connection has never
    /// published to its project, and the stream is not at its media server.
    is_foreign: bool,
}

/// Selects [`ReportedStream`] for the stream `$1` and the connection `$3`, `$4`, `$5`. `$2` tells
/// whether media flows.
macro_rules! select_reported_stream {
    ($ids:literal) => {
        concat!(
            "select p.id as found_project_id, p.revision, p.reconnect_window_ms,
                    s.node_id <> $3 and not exists (
                        select 1
                        from publishes c
                        where c.node_id = $3 and c.boot_id = $4 and c.connection_id = $5
                          and c.project_id = s.project_id) as is_foreign,
                    case when $2 and s.live_time is null then ",
            destination_ids!($ids, "p.id"),
            " end as destination_ids, s.last_seen_time as stored_seen_time, ",
            stream_columns!("s."),
            " from streams s
             join projects p on p.id = s.project_id
             where s.id = $1"
        )
    };
}

/// Reads [`ReportedStream`] in a transaction, or on its own.
macro_rules! read_reported_stream {
    ($target:expr, $report:expr, $is_postgres:expr) => {{
        let ConnectionReport {
            stream_id,
            publisher,
            media_flows,
            ..
        } = $report;
        let sql = match $is_postgres {
            true => select_reported_stream!("json_agg(d.id)::text"),
            false => select_reported_stream!("json_group_array(hex(d.id))"),
        };
        let reported: Result<Option<ReportedStream>> = fetch_optional!(
            $target,
            sql,
            [
                stream_id,
                media_flows,
                &publisher.node_id,
                &publisher.boot_id,
                &publisher.connection_id
            ]
        );
        reported?.ok_or_else(|| Error::not_found("stream", stream_id))
    }};
}

/// The heartbeat of the connection that holds a stream whose status does not change.
macro_rules! refresh_stream {
    () => {
        concat!(
            "update streams
             set last_seen_time = $7,
                 bytes_received = coalesce($8, bytes_received),
                 bitrate_bps = coalesce($9, bitrate_bps),
                 width = coalesce($10, width),
                 height = coalesce($11, height),
                 fps = coalesce($12, fps),
                 video_codec = coalesce($13, video_codec),
                 audio_codec = coalesce($14, audio_codec)
             where id = $1 and epoch = $6 and node_id = $3 and boot_id = $4
               and connection_id = $5 and connected
               and (status = 'live' or status = 'connecting' and not $2)
             returning ",
            stream_columns!("streams."),
        )
    };
}

/// The same on PostgreSQL, which returns [`ReportedStream`] if nothing is refreshed. A refreshed
/// stream comes without its project.
const REFRESH_OR_SELECT: &str = concat!(
    "with refreshed as (",
    refresh_stream!(),
    ") select null::uuid as found_project_id, null::bigint as revision,
              null::bigint as reconnect_window_ms, null::boolean as is_foreign,
              null::text as destination_ids,
              null::timestamptz as stored_seen_time, ",
    stored_stream_columns!("r."),
    " from refreshed r
     union all ",
    select_reported_stream!("json_agg(d.id)::text"),
    " and not exists (select 1 from refreshed)"
);

/// Binds a heartbeat: `$1` to `$14`.
macro_rules! fetch_refreshed {
    ($target:expr, $sql:expr, $report:expr) => {{
        let ConnectionReport {
            stream_id,
            epoch,
            publisher,
            media_flows,
            stats,
            now,
        } = $report;
        fetch_optional!(
            $target,
            $sql,
            [
                stream_id,
                media_flows,
                &publisher.node_id,
                &publisher.boot_id,
                &publisher.connection_id,
                epoch,
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
    }};
}

/// The answer to a heartbeat on PostgreSQL.
enum Heartbeat {
    Refreshed(Stream),
    Found(ReportedStream),
}

impl Publishing {
    /// Streams in this database, with these timeouts.
    pub fn new(database: Database, timeouts: StreamTimeouts) -> Self {
        Self {
            refusals: Refusals::new(database.clone()),
            database,
            timeouts,
            bound_node: None,
        }
    }

    /// The same for a caller that reports for this media server only, if there is one. A report of
    /// a connection about a stream of others is a `NodeMismatch`.
    pub fn bound_to(&self, node: Option<&NodeId>) -> Self {
        Self {
            bound_node: node.cloned(),
            ..self.clone()
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
        let report = ConnectionReport {
            stream_id: id,
            epoch,
            publisher,
            media_flows: stats.is_none_or(|stats| stats.bytes_received > 0),
            stats,
            now,
        };
        let mut project_id = None;
        if let Engine::Postgres(_) = self.database.writer() {
            let found: Option<Heartbeat> =
                fetch_refreshed!(self.database.writer(), REFRESH_OR_SELECT, report)?;
            let found = match found.ok_or_else(|| Error::not_found("stream", id))? {
                Heartbeat::Refreshed(stream) => return Ok((stream, PublishAction::Continue)),
                Heartbeat::Found(found) => found,
            };
            project_id = Some(found.state.project_id);
            let action = self.check_action(&found, report)?;
            if action != PublishAction::Continue {
                return Ok((found.stream, action));
            }
            let (changes, stream) = heartbeat_changes(found, report);
            if changes.write(&self.database).await? {
                return Ok((stream, PublishAction::Continue));
            }
        } else if let Some(stream) =
            fetch_refreshed!(self.database.writer(), refresh_stream!(), report)?
        {
            return Ok((stream, PublishAction::Continue));
        }
        self.heartbeat_locked(project_id, report).await
    }

    /// Records a heartbeat under the lock of its project.
    async fn heartbeat_locked(
        &self,
        project_id: Option<ProjectId>,
        report: ConnectionReport<'_>,
    ) -> Result<(Stream, PublishAction)> {
        self.database
            .transaction(|mut tx| async move {
                let found = lock_reported_stream(&mut tx, project_id, report).await?;
                let action = self.check_action(&found, report)?;
                if action != PublishAction::Continue {
                    return tx.rollback((found.stream, action)).await;
                }
                let (changes, stream) = heartbeat_changes(found, report);
                changes.commit(&self.database, tx).await?;
                Ok((stream, PublishAction::Continue))
            })
            .await
    }

    /// What a connection has to do.
    fn check_action(
        &self,
        found: &ReportedStream,
        report: ConnectionReport<'_>,
    ) -> Result<PublishAction> {
        let action = found.stream.action_for(report.publisher, report.epoch);
        if action != PublishAction::Continue {
            self.require_own_stream(found)?;
        }
        Ok(action)
    }

    fn require_own_stream(&self, found: &ReportedStream) -> Result<()> {
        match &self.bound_node {
            Some(bound) if found.is_foreign => Err(Error::NodeMismatch(bound.clone())),
            _ => Ok(()),
        }
    }

    /// Records the end of a connection. Changes the stream only if the connection holds it.
    pub async fn end(
        &self,
        id: StreamId,
        epoch: i64,
        publisher: &Publisher,
        now: Time,
    ) -> Result<Stream> {
        let report = ConnectionReport {
            stream_id: id,
            epoch,
            publisher,
            media_flows: false,
            stats: None,
            now,
        };
        let mut project_id = None;
        if let Engine::Postgres(_) = self.database.reader() {
            let found = read_reported_stream!(self.database.reader(), report, true)?;
            self.require_own_stream(&found)?;
            project_id = Some(found.state.project_id);
            let ended = End::of(&found, report);
            let relays: Vec<Relay> = match ended.stream_with_relays() {
                Some(id) => load_relays!(self.database.reader(), id)?,
                None => Vec::new(),
            };
            let (changes, stream) = ended.changes(found, relays, report);
            if changes.write(&self.database).await? {
                return Ok(stream);
            }
        }
        self.end_locked(project_id, report).await
    }

    /// Records the end of a connection under the lock of its project.
    async fn end_locked(
        &self,
        project_id: Option<ProjectId>,
        report: ConnectionReport<'_>,
    ) -> Result<Stream> {
        self.database
            .transaction(|mut tx| async move {
                let found = lock_reported_stream(&mut tx, project_id, report).await?;
                self.require_own_stream(&found)?;
                let ended = End::of(&found, report);
                let relays: Vec<Relay> = match ended.stream_with_relays() {
                    Some(id) => load_relays!(tx, id)?,
                    None => Vec::new(),
                };
                let (changes, stream) = ended.changes(found, relays, report);
                changes.commit(&self.database, tx).await?;
                Ok(stream)
            })
            .await
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

/// Reads a stream under the lock of its project.
async fn lock_reported_stream(
    tx: &mut Transaction,
    project_id: Option<ProjectId>,
    report: ConnectionReport<'_>,
) -> Result<ReportedStream> {
    if let Some(project_id) = project_id {
        lock(tx, project_id, Some(report.stream_id)).await?;
    }
    let is_postgres = matches!(tx, Transaction::Postgres(_));
    read_reported_stream!(tx, report, is_postgres)
}

/// The changes of a heartbeat of the connection that holds a stream, and the stream.
fn heartbeat_changes(
    found: ReportedStream,
    report: ConnectionReport<'_>,
) -> (PublishChanges, Stream) {
    let ReportedStream {
        state,
        stream: before,
        ..
    } = found;
    let mut stream = before.clone();
    stream.record_activity(report.media_flows, report.now);
    stream.stats = report.stats.cloned().or(stream.stats);
    let mut changes = PublishChanges::new(state, Vec::new(), report.publisher, report.now);
    match stream.state == before.state {
        true => changes.refresh(&stream),
        false => changes.change(&before, &stream),
    }
    (changes, stream)
}

/// The end of a connection.
struct End {
    /// The stream without its connection, if the connection holds it.
    disconnected: Option<Stream>,
}

impl End {
    fn of(found: &ReportedStream, report: ConnectionReport<'_>) -> Self {
        let stream = &found.stream;
        let disconnected = stream.is_held_by(report.publisher, report.epoch).then(|| {
            let mut stream = stream.clone();
            stream.disconnect(found.window, report.now);
            stream
        });
        Self { disconnected }
    }

    /// The stream whose relays change.
    fn stream_with_relays(&self) -> Option<StreamId> {
        let stream = self.disconnected.as_ref();
        let ended = stream.filter(|stream| stream.state == StreamState::Ended);
        ended
            .filter(|stream| stream.live_time.is_some())
            .map(|stream| stream.id)
    }

    /// The changes, and the stream after them.
    fn changes(
        self,
        found: ReportedStream,
        relays: Vec<Relay>,
        report: ConnectionReport<'_>,
    ) -> (PublishChanges, Stream) {
        let ReportedStream {
            state,
            stream: before,
            ..
        } = found;
        let mut changes = PublishChanges::new(state, relays, report.publisher, report.now);
        changes.connection = Some(ConnectionChange::Ends);
        match self.disconnected {
            Some(stream) => {
                changes.change(&before, &stream);
                (changes, stream)
            }
            None => (changes, before),
        }
    }
}

impl_from_row!(
    ReportedStream:
    is_foreign;
    |row|
    state: PublishState::from_row(row)?,
    stream: Stream::from_row(row)?,
    window: row.try_get("reconnect_window_ms")?,
);

impl<'r, R: Row> FromRow<'r, R> for Heartbeat
where
    Stream: FromRow<'r, R>,
    ReportedStream: FromRow<'r, R>,
    Option<ProjectId>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'a> &'a str: sqlx::ColumnIndex<R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        match row.try_get::<Option<ProjectId>, _>("found_project_id")? {
            None => Stream::from_row(row).map(Self::Refreshed),
            Some(_) => ReportedStream::from_row(row).map(Self::Found),
        }
    }
}
