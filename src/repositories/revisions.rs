//! The revisions of projects.
//!
//! Whatever changes a project, or what belongs to it, first takes the project's
//! next revision. That locks the project's row: changes of one project happen
//! one after the other, in the order of their numbers, and each number has its
//! event. A transaction that is
//! rolled back, because it turned out to change nothing, gives its number back.

use super::{engine::Transaction, project_rows, stream_rows};
use crate::{
    domain::{ProjectId, StreamId, Tenant},
    error::Result,
};

/// Locks one of the tenant's projects for a change, which takes the next revision.
pub(super) async fn lock_owned(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Result<i64> {
    on_engine!(tx, tx => sqlx::query_scalar::<_, i64>(
        "update projects as p
         set revision = revision + 1
         where p.id = $1 and p.owner_id = $2 and p.delete_time is null
           and ($3 is null or exists (
               select 1 from api_key_projects k
               where k.api_key_id = $3 and k.project_id = p.id))
         returning revision",
    )
    .bind(id)
    .bind(tenant.user)
    .bind(tenant.restricted_to)
    .fetch_optional(&mut **tx)
    .await)?
    .ok_or_else(|| project_rows::not_found(id))
}

/// Locks a stream's project and takes its next revision; tells both.
pub(super) async fn take_revision_of(
    tx: &mut Transaction,
    id: StreamId,
) -> Result<(ProjectId, i64)> {
    on_engine!(tx, tx => sqlx::query_as::<_, (ProjectId, i64)>(
        "update projects
         set revision = revision + 1
         where id = (select project_id from streams where id = $1)
         returning id, revision",
    )
    .bind(id)
    .fetch_optional(&mut **tx)
    .await)?
    .ok_or_else(|| stream_rows::not_found(id))
}

/// The same for a job, which leaves a project alone where somebody else is at work.
pub(super) async fn take_free_revision_of(
    tx: &mut Transaction,
    id: StreamId,
) -> Result<Option<(ProjectId, i64)>> {
    // SQLite has one writer: nobody else can be at work.
    let sql = match tx {
        Transaction::Postgres(_) => {
            "update projects
             set revision = revision + 1
             where id = (
                 select p.id
                 from streams s
                 join projects p on p.id = s.project_id
                 where s.id = $1
                 for update of p skip locked)
             returning id, revision"
        }
        Transaction::Sqlite(_) => {
            "update projects
             set revision = revision + 1
             where id = (select project_id from streams where id = $1)
             returning id, revision"
        }
    };
    Ok(
        on_engine!(tx, tx => sqlx::query_as::<_, (ProjectId, i64)>(sql)
        .bind(id)
        .fetch_optional(&mut **tx)
        .await)?,
    )
}

/// Takes one more revision of a project that is locked.
pub(super) async fn take_revision(tx: &mut Transaction, id: ProjectId) -> Result<i64> {
    Ok(on_engine!(tx, tx => sqlx::query_scalar::<_, i64>(
        "update projects set revision = revision + 1 where id = $1 returning revision",
    )
    .bind(id)
    .fetch_one(&mut **tx)
    .await)?)
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
