//! The transfer of a project to another organization.

use super::{
    projects::Projects,
    rows::{load, lock_owned, record},
};
use crate::{
    database::Transaction,
    domain::{AuditContext, Project, ProjectId, QuotaKind, Tenant, Time},
    error::{Error, Result},
    repositories::{
        accounts::session_rows::require_active,
        audit_log, quotas,
        sql::{is_member, refusal},
    },
};

impl Projects {
    /// Moves a project to the organization of `target`, in which the same user must have the role of
    /// that tenant. Its stream goes on, and its own webhooks move with it. Nothing changes if it
    /// belongs to that organization.
    pub async fn transfer(
        &self,
        tenant: Tenant,
        id: ProjectId,
        target: Tenant,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Project> {
        self.database
            .transaction(|mut tx| async move {
                let revision = lock_owned(&mut tx, tenant, id).await?;
                require_active(&mut tx, audit).await?;
                lock_target(&mut tx, target).await?;
                let before = load(&mut tx, id).await?;
                if before.organization_id == Some(target.organization) {
                    let unchanged = Project {
                        revision: revision - 1,
                        ..before
                    };
                    return tx.rollback(unchanged).await;
                }
                execute!(
                    tx,
                    "update projects
                     set owner_id = $2, transfer_time = $3, update_time = $3
                     where id = $1",
                    [id, target.organization, now]
                )?;
                let kinds = [
                    QuotaKind::Projects,
                    QuotaKind::Destinations,
                    QuotaKind::LiveStreams,
                ];
                let id_of_target = target.organization;
                let excess = quotas::exceeded(&mut tx, id_of_target, &kinds, now).await?;
                if let Some(excess) = excess {
                    return Err(Error::QuotaExceeded(excess));
                }
                move_webhooks(&mut tx, id, revision, now).await?;
                execute!(
                    tx,
                    "delete from api_key_projects where project_id = $1",
                    [id]
                )?;
                let moved = load(&mut tx, id).await?;
                record(&mut tx, &moved, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                self.database.commit_change(tx, id).await?;
                Ok(moved)
            })
            .await
    }
}

/// Locks the organization that gets a project, so that it is not deleted meanwhile. `NotFound` or
/// `RoleInsufficient` if the user has not the tenant's role there.
async fn lock_target(tx: &mut Transaction, target: Tenant) -> Result<()> {
    macro_rules! select {
        ($lock:literal) => {
            concat!(
                "select o.id from organizations o where o.id = $1 and ",
                is_member!("o.id", "$2", "$3"),
                $lock
            )
        };
    }
    let sql = match tx {
        Transaction::Postgres(_) => select!(" for share of o"),
        Transaction::Sqlite(_) => select!(""),
    };
    let mut is_member =
        async |tenant: Tenant| exists!(tx, sql, [tenant.organization, tenant.user, tenant.roles()]);
    match is_member(target).await? {
        true => Ok(()),
        false => {
            let id = target.organization;
            Err(refusal!(target, "organization", id, reader => is_member(reader).await))
        }
    }
}

/// Moves the webhooks of a project to its organization. Those for all projects of the former one end
/// with it, and those of the new one begin before the event of the change.
async fn move_webhooks(
    tx: &mut Transaction,
    id: ProjectId,
    revision: i64,
    now: Time,
) -> Result<()> {
    execute!(
        tx,
        "update webhooks
         set owner_id = (select owner_id from projects where id = $1)
         where project_id = $1",
        [id]
    )?;
    for table in [
        "delete from webhook_cursors
         where project_id = $1
           and webhook_id in (select id from webhooks where project_id is null)",
        "delete from webhook_deliveries
         where project_id = $1
           and webhook_id in (select id from webhooks where project_id is null)",
    ] {
        execute!(tx, table, [id])?;
    }
    execute!(
        tx,
        "insert into webhook_cursors (webhook_id, project_id, revision, next_attempt_time)
         select w.id, p.id, $2, $3
         from projects p
         join webhooks w on w.owner_id = p.owner_id and w.project_id is null
                        and w.delete_time is null
         where p.id = $1",
        [id, revision - 1, now]
    )
}
