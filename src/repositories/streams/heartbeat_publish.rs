//! Heartbeats of connections.
//!
//! A heartbeat that changes no status takes no revision: it is one statement, whose `where`
//! clause is the fence. The domain decides everything else, on what the statement reads, and
//! [`PublishChanges`] writes it if nothing has changed meanwhile.

use sqlx::{FromRow, Row};

use super::{
    publish_changes::PublishChanges,
    reported_stream::{
        ConnectionReport, ReportedStream, lock_reported_stream, select_reported_stream,
    },
    rows::{stored_stream_columns, stream_columns},
};
use crate::{
    database::Engine,
    domain::{ProjectId, PublishAction, Publisher, Stream, StreamId, StreamStats, Time},
    error::{Error, Result},
    repositories::{Publishing, sql::to_json},
};

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
                 audio_codec = coalesce($14, audio_codec),
                 media = coalesce($15, media)
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

/// Binds a heartbeat: `$1` to `$15`.
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
        let media = stats.map(|stats| to_json(&stats.media)).transpose()?;
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
                stats.map(|stats| &stats.audio_codec),
                media
            ]
        )
    }};
}

/// The answer to a heartbeat on PostgreSQL.
enum Heartbeat {
    Refreshed(Box<Stream>),
    Found(Box<ReportedStream>),
}

impl Publishing {
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
                Heartbeat::Refreshed(stream) => return Ok((*stream, PublishAction::Continue)),
                Heartbeat::Found(found) => *found,
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

impl<'r, R: Row> FromRow<'r, R> for Heartbeat
where
    Stream: FromRow<'r, R>,
    ReportedStream: FromRow<'r, R>,
    Option<ProjectId>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'a> &'a str: sqlx::ColumnIndex<R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        match row.try_get::<Option<ProjectId>, _>("found_project_id")? {
            None => Stream::from_row(row).map(|stream| Self::Refreshed(Box::new(stream))),
            Some(_) => ReportedStream::from_row(row).map(|found| Self::Found(Box::new(found))),
        }
    }
}
