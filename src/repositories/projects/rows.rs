//! Rows of the table `projects`, and their revisions.
//!
//! A transaction that changes a project, or what belongs to it, first takes the project's
//! next revision. This locks the project's row: the changes of a project happen one after
//! the other, in the order of their revisions, and each revision has its event. A
//! rollback, for example of a transaction without changes, returns the revision.

use sqlx::Row;

use super::events;
use crate::{
    database::{QueueStatements, Transaction},
    domain::{Change, Project, ProjectId, Tenant, Time},
    error::{Error, Result},
    repositories::sql::{owned_by, refusal},
};

/// The columns of [`Project`], of projects `p` with their live streams `s`.
macro_rules! project_columns {
    () => {
        "p.id, p.owner_id, p.name, p.disabled, p.reconnect_window_ms, p.publish_conflict_policy,
         p.outage_policy, p.stream_key_hint, s.id as live_stream_id, p.revision, p.create_time, p.update_time"
    };
}

/// Projects `p` with their live streams `s`.
macro_rules! projects_with_streams {
    () => {
        "projects p
         left join streams s on s.project_id = p.id and s.end_time is null"
    };
}

/// Selects [`Project`]s: projects `p` with their live streams `s`.
macro_rules! select_projects {
    () => {
        concat!(
            "select ",
            $crate::repositories::projects::rows::project_columns!(),
            " from ",
            $crate::repositories::projects::rows::projects_with_streams!()
        )
    };
}

/// The condition, order and limit of a page of a tenant's projects: below `$1`, of the user `$2`
/// and the API key `$3`, at most `$4`, with the filter `$5` to `$7`, of the organization `$8`, with
/// the roles `$9`.
///
/// The times stand in `coalesce`, which no index contains: with statistics an engine may else
/// read all projects of a user in the order of their creation, and sort them for each page.
macro_rules! owned_page {
    () => {
        concat!(
            " where p.id < $1 and ",
            $crate::repositories::sql::owned_in!("$8", "$2", "$3", "$9"),
            " and ($5 is null or p.disabled = $5)
              and coalesce(p.create_time, $6) > $6 and coalesce(p.create_time, $7) < $7
              order by p.id desc limit $4",
        )
    };
}
pub(super) use {owned_page, project_columns, projects_with_streams, select_projects};

/// Selects a project of a tenant.
pub(super) const SELECT_OWNED: &str = concat!(
    select_projects!(),
    " where p.id = $1 and ",
    owned_by!("$2", "$3", "$4")
);

/// Locks a project of the tenant and takes its next revision.
pub(crate) async fn lock_owned(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Result<i64> {
    let revision: Option<i64> = fetch_optional_scalar!(
        tx,
        concat!(
            "update projects as p
             set revision = revision + 1
             where p.id = $1 and ",
            owned_by!("$2", "$3", "$4"),
            " returning revision",
        ),
        [id, tenant.user, tenant.key, tenant.roles()]
    )?;
    match revision {
        Some(revision) => Ok(revision),
        None => Err(refusal_in(tx, tenant, id).await),
    }
}

/// Why a tenant cannot access a project with its role.
pub(super) async fn refusal_in(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Error {
    refusal!(tenant, "project", id, reader => exists!(
        tx,
        SELECT_OWNED,
        [id, reader.user, reader.key, reader.roles()]
    ))
}

/// Takes another revision of a locked project.
pub(crate) async fn take_revision(tx: &mut Transaction, id: ProjectId) -> Result<i64> {
    fetch_scalar!(
        tx,
        "update projects set revision = revision + 1 where id = $1 returning revision",
        [id]
    )
}

/// Returns the revision of a locked project that a change without an event has taken.
pub(crate) async fn return_revision(tx: &mut Transaction, id: ProjectId) -> Result<()> {
    execute!(
        tx,
        "update projects set revision = revision - 1 where id = $1",
        [id]
    )
}

/// Writes the event of a change of the project itself.
pub(crate) async fn record(
    tx: &mut impl QueueStatements,
    project: &Project,
    now: Time,
) -> Result<()> {
    let change = Change::Project(project.clone());
    events::record(tx, project.id, project.revision, &change, now).await
}

/// A project, as the transaction sees it.
pub(crate) async fn load(tx: &mut Transaction, id: ProjectId) -> Result<Project> {
    fetch_one!(tx, concat!(select_projects!(), " where p.id = $1"), [id])
}

impl_from_row!(
    Project:
    id, disabled, publish_conflict_policy, outage_policy, stream_key_hint, live_stream_id,
    revision, create_time, update_time;
    |row|
    organization_id: Some(row.try_get("owner_id")?),
    display_name: row.try_get("name")?,
    reconnect_window: row.try_get("reconnect_window_ms")?,
);
