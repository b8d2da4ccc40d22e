//! The revisions of projects.
//!
//! Whatever changes a project, or what belongs to it, first takes the project's
//! next revision. That locks the project's row: changes of one project happen
//! one after the other, in the order of their numbers, and each number has its
//! event. A transaction that is
//! rolled back, because it turned out to change nothing, gives its number back.

use crate::{
    database::Transaction,
    domain::{ProjectId, Tenant},
    error::{Error, Result},
};

/// Locks one of the tenant's projects for a change, which takes the next revision.
pub(crate) async fn lock_owned(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Result<i64> {
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
    .ok_or_else(|| Error::not_found("project", id))
}

/// Takes one more revision of a project that is locked.
pub(crate) async fn take_revision(tx: &mut Transaction, id: ProjectId) -> Result<i64> {
    Ok(on_engine!(tx, tx => sqlx::query_scalar::<_, i64>(
        "update projects set revision = revision + 1 where id = $1 returning revision",
    )
    .bind(id)
    .fetch_one(&mut **tx)
    .await)?)
}

/// Gives back a revision that was taken for a change which is not numbered.
pub(crate) async fn return_revision(tx: &mut Transaction, id: ProjectId) -> Result<()> {
    on_engine!(tx, tx => sqlx::query("update projects set revision = revision - 1 where id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map(drop))?;
    Ok(())
}
