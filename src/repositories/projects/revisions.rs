//! The revisions of projects.
//!
//! A transaction that changes a project, or what belongs to it, first takes the project's
//! next revision. This locks the project's row: the changes of a project happen one after
//! the other, in the order of their revisions, and each revision has its event. A
//! rollback, for example of a transaction without changes, returns the revision.

use crate::{
    database::Transaction,
    domain::{ProjectId, Tenant},
    error::{Error, Result},
    repositories::sql::owned_by,
};

/// Locks a project of the tenant and takes its next revision.
pub(crate) async fn lock_owned(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Result<i64> {
    on_engine!(tx, tx => sqlx::query_scalar::<_, i64>(
        concat!(
            "update projects as p
             set revision = revision + 1
             where p.id = $1 and ",
            owned_by!("$2", "$3"),
            " returning revision",
        ),
    )
    .bind(id)
    .bind(tenant.user)
    .bind(tenant.restricted_to)
    .fetch_optional(&mut **tx)
    .await)?
    .ok_or_else(|| Error::not_found("project", id))
}

/// Takes another revision of a locked project.
pub(crate) async fn take_revision(tx: &mut Transaction, id: ProjectId) -> Result<i64> {
    Ok(on_engine!(tx, tx => sqlx::query_scalar::<_, i64>(
        "update projects set revision = revision + 1 where id = $1 returning revision",
    )
    .bind(id)
    .fetch_one(&mut **tx)
    .await)?)
}

/// Returns the revision of a locked project that a change without an event has taken.
pub(crate) async fn return_revision(tx: &mut Transaction, id: ProjectId) -> Result<()> {
    Ok(
        on_engine!(tx, tx => sqlx::query("update projects set revision = revision - 1 where id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map(drop))?,
    )
}
