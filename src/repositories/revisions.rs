//! The revisions of projects.
//!
//! Whatever changes a project, or what belongs to it, first takes the project's
//! next revision. That locks the project's row: changes of one project happen
//! one after the other, in the order of their numbers. A transaction that is
//! rolled back, because it turned out to change nothing, gives its number back.

use super::{engine::Transaction, projects, stream_rows};
use crate::{
    domain::{ProjectId, StreamId, Tenant},
    error::Result,
};

/// Locks one of the tenant's projects for a change, which takes the next revision.
pub(super) async fn lock_owned(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Result<()> {
    let found = on_engine!(tx, tx => sqlx::query(
        "update projects as p
         set revision = revision + 1
         where p.id = $1 and p.owner_id = $2 and p.delete_time is null
           and ($3 is null or exists (
               select 1 from api_key_projects k
               where k.api_key_id = $3 and k.project_id = p.id))",
    )
    .bind(id)
    .bind(tenant.user)
    .bind(tenant.restricted_to)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected()))?;
    match found {
        0 => Err(projects::not_found(id)),
        _ => Ok(()),
    }
}

/// Locks a stream's project and takes its next revision.
pub(super) async fn take_revision_of(tx: &mut Transaction, id: StreamId) -> Result<ProjectId> {
    on_engine!(tx, tx => sqlx::query_scalar::<_, ProjectId>(
        "update projects
         set revision = revision + 1
         where id = (select project_id from streams where id = $1)
         returning id",
    )
    .bind(id)
    .fetch_optional(&mut **tx)
    .await)?
    .ok_or_else(|| stream_rows::not_found(id))
}

/// Takes one more revision of a project that is locked.
pub(super) async fn take_revision(tx: &mut Transaction, id: ProjectId) -> Result<()> {
    on_engine!(tx, tx => sqlx::query("update projects set revision = revision + 1 where id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map(drop))?;
    Ok(())
}

/// Gives back a revision that was taken for a change which is not numbered.
pub(super) async fn return_revision(tx: &mut Transaction, id: ProjectId) -> Result<()> {
    on_engine!(tx, tx => sqlx::query("update projects set revision = revision - 1 where id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map(drop))?;
    Ok(())
}
