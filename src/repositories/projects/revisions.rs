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
    fetch_optional_scalar!(
        tx,
        concat!(
            "update projects as p
             set revision = revision + 1
             where p.id = $1 and ",
            owned_by!("$2", "$3"),
            " returning revision",
        ),
        [id, tenant.user, tenant.restricted_to]
    )?
    .ok_or_else(|| Error::not_found("project", id))
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
