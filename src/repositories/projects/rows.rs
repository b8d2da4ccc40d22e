use std::time::Duration;

use sqlx::FromRow;

use super::events;
use crate::{
    database::{Transaction, decode_column},
    domain::{Change, Project, ProjectId, PublishConflictPolicy, ReconnectWindow, StreamId, Time},
    error::Result,
};

/// Selects [`ProjectRow`]s: projects `p` with their live streams `s`.
macro_rules! select_projects {
    () => {
        "select p.id, p.name, p.disabled, p.reconnect_window_ms, p.publish_conflict_policy,
                p.stream_key_hint, s.id as live_stream_id, p.revision,
                p.create_time, p.update_time
         from projects p
         left join streams s on s.project_id = p.id and s.end_time is null"
    };
}
pub(super) use select_projects;

/// A row of the table `projects`, with its live stream.
#[derive(FromRow)]
pub(crate) struct ProjectRow {
    id: ProjectId,
    name: String,
    disabled: bool,
    reconnect_window_ms: i64,
    publish_conflict_policy: String,
    stream_key_hint: String,
    live_stream_id: Option<StreamId>,
    revision: i64,
    create_time: Time,
    update_time: Time,
}

/// Writes the event of a change of the project itself.
pub(crate) async fn record(tx: &mut Transaction, project: &Project, now: Time) -> Result<()> {
    let change = Change::Project(project.clone());
    events::record(tx, project.id, project.revision, &change, now).await
}

/// A project, as the transaction sees it.
pub(crate) async fn load(tx: &mut Transaction, id: ProjectId) -> Result<Project> {
    fetch_one!(tx, concat!(select_projects!(), " where p.id = $1"), [id])
}

impl<'r, R: sqlx::Row> FromRow<'r, R> for Project
where
    ProjectRow: FromRow<'r, R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let ProjectRow {
            id,
            name,
            disabled,
            reconnect_window_ms,
            publish_conflict_policy,
            stream_key_hint,
            live_stream_id,
            revision,
            create_time,
            update_time,
        } = ProjectRow::from_row(row)?;
        let policy = PublishConflictPolicy::parse(&publish_conflict_policy);
        Ok(Self {
            id,
            name,
            disabled,
            reconnect_window: window_from_millis(reconnect_window_ms)?,
            publish_conflict_policy: decode_column("publish_conflict_policy", policy)?,
            stream_key_hint,
            live_stream_id,
            revision,
            create_time,
            update_time,
        })
    }
}

/// The reconnect window of a column with milliseconds.
pub(crate) fn window_from_millis(millis: i64) -> sqlx::Result<ReconnectWindow> {
    let window = u64::try_from(millis)
        .ok()
        .and_then(|millis| ReconnectWindow::parse(Duration::from_millis(millis)).ok());
    decode_column("reconnect_window_ms", window)
}
