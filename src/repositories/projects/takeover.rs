//! What happens to the projects of an account whose address is proved for the first time.

use super::{
    destinations::{self, destination_columns},
    rows::{load, record, take_revision},
};
use crate::{
    database::Transaction,
    domain::{Destination, EndReason, OrganizationId, ProjectId, SealedStreamKey, Time, UserId},
    error::Result,
    repositories::{streams::rows::end_all, webhooks::disable_taken_over},
};

/// Makes the new, sealed stream key of a project.
pub type NewStreamKey<'a> = &'a (dyn Fn(ProjectId) -> SealedStreamKey + Send + Sync);

/// Takes all projects of a user away from those who have used the account so far: their streams end,
/// they get new stream keys, and their destinations and webhooks are disabled. Nothing is deleted. Returns the
/// projects, whose watchers must be notified after the commit. Only the personal organization can
/// have any: others need a proved address.
///
/// No project is added meanwhile: creating one locks its organization.
pub(crate) async fn take_over_projects(
    tx: &mut Transaction,
    user: UserId,
    new_stream_key: NewStreamKey<'_>,
    now: Time,
) -> Result<Vec<ProjectId>> {
    let lock = match tx {
        Transaction::Postgres(_) => "select id from organizations where id = $1 for update",
        Transaction::Sqlite(_) => "select id from organizations where id = $1",
    };
    let owner = OrganizationId::personal(user);
    let _: Option<OrganizationId> = fetch_optional_scalar!(tx, lock, [owner])?;
    let projects: Vec<ProjectId> = fetch_scalars!(
        tx,
        "select id from projects where owner_id = $1 and delete_time is null order by id",
        [owner]
    )?;
    for id in &projects {
        replace_stream_key(tx, *id, &new_stream_key(*id), now).await?;
        end_all(tx, *id, EndReason::KeyRotated, now).await?;
        disable_destinations(tx, *id, now).await?;
    }
    disable_taken_over(tx, owner, now).await?;
    Ok(projects)
}

/// Replaces the stream key of a project, and forgets those before.
async fn replace_stream_key(
    tx: &mut Transaction,
    id: ProjectId,
    key: &SealedStreamKey,
    now: Time,
) -> Result<()> {
    execute!(
        tx,
        "update projects
         set revision = revision + 1, stream_key_hash = $2, stream_key_sealed = $3,
             stream_key_hint = $4, previous_key_hash = null, previous_key_expire_time = null,
             replaced_key_hash = null, update_time = $5
         where id = $1",
        [id, &key.hash, &key.sealed, &key.hint, now]
    )?;
    let replaced = load(tx, id).await?;
    record(tx, &replaced, now).await
}

async fn disable_destinations(tx: &mut Transaction, id: ProjectId, now: Time) -> Result<()> {
    let disabled: Vec<Destination> = fetch_all!(
        tx,
        concat!(
            "update destinations
             set enabled = false, update_time = $2
             where project_id = $1 and enabled and delete_time is null
             returning ",
            destination_columns!("")
        ),
        [id, now]
    )?;
    for destination in &disabled {
        let revision = take_revision(tx, id).await?;
        destinations::record(tx, revision, destination, now).await?;
    }
    Ok(())
}
