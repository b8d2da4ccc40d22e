//! The deletion of a project, as far as its callers see it: a mark. Its rows are deleted later.

use super::{
    events,
    rows::{return_revision, take_revision},
};
use crate::{
    database::{Database, Transaction},
    domain::{Change, DestinationId, EndReason, OrganizationId, ProjectId, Time},
    error::Result,
    repositories::streams::rows::end_active,
};

/// Marks destinations as deleted at `$2`, and erases their names, addresses and secrets.
macro_rules! mark_destinations {
    () => {
        "update destinations
         set delete_time = $2, name = '', url = '', stream_key_hint = '',
             stream_key_sealed = substr(stream_key_sealed, 1, 0), srt_passphrase_sealed = null"
    };
}

/// Deletes a locked project whose next revision is taken; returns whether it had an active
/// stream, which ends.
pub(crate) async fn delete_locked(tx: &mut Transaction, id: ProjectId, now: Time) -> Result<bool> {
    // The end of the stream takes the revision before that of the deletion.
    return_revision(tx, id).await?;
    let was_live = end_active(tx, id, EndReason::ProjectDeleted, now).await?;
    let revision = take_revision(tx, id).await?;
    events::record(tx, id, revision, &Change::ProjectDeleted, now).await?;

    for sql in [
        // Their workers stop. There is at most one lease per destination; relays of ended streams
        // may be a million.
        "delete from relays
         where destination_id in (select id from destinations where project_id = $1)
           and lease_id is not null and $2 is not null",
        concat!(
            mark_destinations!(),
            " where project_id = $1 and delete_time is null"
        ),
        // There are few. They have networks of publishers.
        "delete from refusals where project_id = $1 and $2 is not null",
        "update projects
         set delete_time = $2, name = '', stream_key_hint = '', stream_key_hash = null,
             stream_key_sealed = null, previous_key_hash = null,
             previous_key_expire_time = null, replaced_key_hash = null
         where id = $1",
    ] {
        execute!(tx, sql, [id, now])?;
    }
    Ok(was_live)
}

/// Deletes a project of an organization that is deleted. `false` if the project was deleted before.
pub(crate) async fn delete_of_owner(
    tx: &mut Transaction,
    id: ProjectId,
    now: Time,
) -> Result<bool> {
    let locked = rows_affected!(
        tx,
        "update projects set revision = revision + 1 where id = $1 and delete_time is null",
        [id]
    )?;
    if locked > 0 {
        delete_locked(tx, id, now).await?;
    }
    Ok(locked > 0)
}

/// At most `limit` projects of an organization that have an active stream.
pub(crate) async fn live_projects(
    database: &Database,
    owner: OrganizationId,
    limit: i64,
) -> Result<Vec<ProjectId>> {
    fetch_scalars!(
        database.reader(),
        "select p.id
         from projects p
         join streams s on s.project_id = p.id and s.end_time is null
         where p.owner_id = $1 and p.delete_time is null
         order by p.id
         limit $2",
        [owner, limit]
    )
}

/// Marks a destination as deleted, and ends its relays that a worker has or could claim; `false`
/// if it was deleted before.
pub(super) async fn delete_destination(
    tx: &mut Transaction,
    project_id: ProjectId,
    id: DestinationId,
    now: Time,
) -> Result<bool> {
    let deleted = rows_affected!(
        tx,
        concat!(
            mark_destinations!(),
            " where id = $1 and delete_time is null"
        ),
        [id, now]
    )?;
    execute!(
        tx,
        "delete from relays where destination_id = $1 and lease_id is not null",
        [id]
    )?;
    execute!(
        tx,
        "delete from relays
         where destination_id = $1
           and stream_id in (select id from streams where project_id = $2 and end_time is null)",
        [id, project_id]
    )?;
    Ok(deleted > 0)
}
