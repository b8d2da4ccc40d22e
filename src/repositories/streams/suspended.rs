//! The end of streams of suspended accounts and organizations.

use super::rows::end_all;
use crate::{
    domain::{EndReason, ProjectId, Time},
    error::Result,
    repositories::{Publishing, projects::rows::return_revision},
};

impl Publishing {
    /// At most `limit` projects after `above`, in their order, of suspended accounts and
    /// organizations that have a stream which has not ended, or, of those suspended after `since`, a
    /// relay that drains.
    pub async fn list_suspended(
        &self,
        above: ProjectId,
        since: Time,
        limit: i64,
    ) -> Result<Vec<ProjectId>> {
        // Every second: `cross join` keeps SQLite from reading all live streams.
        fetch_scalars!(
            self.database.reader(),
            "select p.id
             from users u
             cross join projects p
             cross join streams s
             where u.suspend_time is not null and p.owner_id = u.id and s.project_id = p.id
               and s.end_time is null and p.id > $1
             union
             select p.id
             from organizations o
             cross join projects p
             cross join streams s
             where o.suspend_time is not null and p.owner_id = o.id and s.project_id = p.id
               and s.end_time is null and p.id > $1
             union
             select p.id
             from users u
             cross join projects p
             cross join relays r
             where u.suspend_time > $2 and p.owner_id = u.id and r.project_id = p.id
               and r.state = 'draining' and p.id > $1
             union
             select p.id
             from organizations o
             cross join projects p
             cross join relays r
             where o.suspend_time > $2 and p.owner_id = o.id and r.project_id = p.id
               and r.state = 'draining' and p.id > $1
             order by 1
             limit $3",
            [above, since, limit]
        )
    }

    /// Ends the stream of a project whose owner or organization is suspended, and stops its relays
    /// that drain;
    /// `false` if there is none of these.
    pub async fn end_suspended(&self, id: ProjectId, now: Time) -> Result<bool> {
        self.database
            .transaction(|mut tx| async move {
                let locked = rows_affected!(
                    tx,
                    "update projects
                     set revision = revision + 1
                     where id = $1
                       and (exists (
                               select 1
                               from users u
                               where u.id = projects.owner_id and u.suspend_time is not null)
                           or exists (
                               select 1
                               from organizations o
                               where o.id = projects.owner_id and o.suspend_time is not null))",
                    [id]
                )?;
                if locked == 0 {
                    return tx.rollback(false).await;
                }
                // The changes of the stream and its relays take the revision.
                return_revision(&mut tx, id).await?;
                if !end_all(&mut tx, id, EndReason::AccountSuspended, now).await? {
                    return tx.rollback(false).await;
                }
                self.database.commit_change(tx, id).await?;
                Ok(true)
            })
            .await
    }
}
