//! A stream, as the report of a connection finds it.

use sqlx::Row;

use super::publish_changes::{PublishState, lock};
use crate::{
    database::Transaction,
    domain::{ProjectId, Publisher, ReconnectWindow, Stream, StreamId, StreamStats, Time},
    error::{Error, Result},
    repositories::Publishing,
};

/// A connection, as it reports itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionReport<'a> {
    pub stream_id: StreamId,
    pub epoch: i64,
    pub publisher: &'a Publisher,
    pub media_flows: bool,
    pub stats: Option<&'a StreamStats>,
    pub now: Time,
}

/// A stream and its project, as the report of a connection finds them.
#[derive(Debug)]
pub(super) struct ReportedStream {
    pub state: PublishState,
    pub stream: Stream,
    pub window: ReconnectWindow,
    /// Whether the stream belongs to other media servers only: this connection has never
    /// published to its project, and the stream is not at its media server.
    pub is_foreign: bool,
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
            $crate::repositories::streams::publish_changes::destination_ids!($ids, "p.id"),
            " end as destination_ids, s.last_seen_time as stored_seen_time, ",
            $crate::repositories::streams::rows::stream_columns!("s."),
            " from streams s
             join projects p on p.id = s.project_id
             where s.id = $1"
        )
    };
}

/// Reads [`ReportedStream`] in a transaction, or on its own.
macro_rules! read_reported_stream {
    ($target:expr, $report:expr, $is_postgres:expr) => {{
        let $crate::repositories::streams::reported_stream::ConnectionReport {
            stream_id,
            publisher,
            media_flows,
            ..
        } = $report;
        let sql = match $is_postgres {
            true => $crate::repositories::streams::reported_stream::select_reported_stream!(
                "json_agg(d.id)::text"
            ),
            false => $crate::repositories::streams::reported_stream::select_reported_stream!(
                "json_group_array(hex(d.id))"
            ),
        };
        let reported: $crate::error::Result<
            Option<$crate::repositories::streams::reported_stream::ReportedStream>,
        > = fetch_optional!(
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
        reported?.ok_or_else(|| $crate::error::Error::not_found("stream", stream_id))
    }};
}
pub(super) use {read_reported_stream, select_reported_stream};

impl Publishing {
    /// `NodeMismatch` if the caller is bound to a media server, and the stream belongs to others
    /// only.
    pub(super) fn require_own_stream(&self, found: &ReportedStream) -> Result<()> {
        match &self.bound_node {
            Some(bound) if found.is_foreign => Err(Error::NodeMismatch(bound.clone())),
            _ => Ok(()),
        }
    }
}

/// Reads a stream under the lock of its project.
pub(super) async fn lock_reported_stream(
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

impl_from_row!(
    ReportedStream:
    is_foreign;
    |row|
    state: PublishState::from_row(row)?,
    stream: Stream::from_row(row)?,
    window: row.try_get("reconnect_window_ms")?,
);
