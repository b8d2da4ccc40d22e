use super::rows::lock_row;
use crate::{
    database::Database,
    domain::{
        AuditContext, OrganizationAccount, OrganizationAccountFilter, OrganizationId,
        OrganizationState, Page, Time,
    },
    error::{Error, Result},
    repositories::{accounts::session_rows::require_active, audit_log},
};

/// Organizations, for operators.
#[derive(Debug, Clone)]
pub struct OrganizationAccounts {
    database: Database,
}

/// Selects [`OrganizationAccount`]s: organizations `o`.
macro_rules! select_accounts {
    () => {
        "select o.id, o.display_name, o.create_time, o.suspend_time,
               (select count(*)
                from memberships m
                where m.organization_id = o.id) as member_count,
               (select count(*)
                from projects p
                where p.owner_id = o.id and p.delete_time is null) as project_count,
               (select count(*)
                from projects p
                join streams s on s.project_id = p.id and s.end_time is null
                where p.owner_id = o.id and p.delete_time is null) as live_stream_count
         from organizations o
         where o.delete_time is null and not o.personal and "
    };
}

/// Selects a page of organizations that meet another condition, on the user `$2`.
macro_rules! select_page {
    ($condition:literal) => {
        concat!(
            select_accounts!(),
            $condition,
            " and o.id < $1
              and ($3 is null or ($3 = 'suspended') = (o.suspend_time is not null))
              and o.create_time > $4 and o.create_time < $5
             order by o.id desc
             limit $6"
        )
    };
}

impl OrganizationAccounts {
    /// Organizations in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The organizations that meet a filter, newest first. Without personal ones.
    pub async fn list(
        &self,
        filter: &OrganizationAccountFilter,
        page: Page,
    ) -> Result<Vec<OrganizationAccount>> {
        // Two statements, so that the index on the members is used.
        let sql = match filter.user_id {
            Some(_) => select_page!(
                "o.id in (select m.organization_id from memberships m where m.user_id = $2)"
            ),
            None => select_page!("$2 is null"),
        };
        fetch_all!(
            self.database.reader(),
            sql,
            [
                page.below,
                filter.user_id,
                filter.state.map(OrganizationState::as_str),
                filter.created.after,
                filter.created.before,
                page.limit()
            ]
        )
    }

    /// An organization. `OrganizationPersonal` for a personal one.
    pub async fn get(&self, id: OrganizationId) -> Result<OrganizationAccount> {
        let found: Option<OrganizationAccount> = fetch_optional!(
            self.database.writer(),
            concat!(select_accounts!(), "o.id = $1"),
            [id]
        )?;
        if let Some(found) = found {
            return Ok(found);
        }
        let is_personal = exists!(
            self.database.writer(),
            "select id from organizations where id = $1 and personal and delete_time is null",
            [id]
        )?;
        match is_personal {
            true => Err(Error::OrganizationPersonal),
            false => Err(Error::not_found("organization", id)),
        }
    }

    /// Suspends an organization that is not a personal one. Changes nothing if it is suspended
    /// already.
    pub async fn suspend(&self, id: OrganizationId, audit: &AuditContext, now: Time) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                // Its members change before, or not at all.
                lock_row(&mut tx, id).await?;
                let suspended = rows_affected!(
                    tx,
                    "update organizations
                     set suspend_time = $2
                     where id = $1 and delete_time is null and suspend_time is null
                       and not personal",
                    [id, now]
                )?;
                if suspended == 0 {
                    return tx.rollback(()).await;
                }
                require_active(&mut tx, audit).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(()).await
            })
            .await
    }

    /// Ends the suspension of an organization. Changes nothing if it is active.
    pub async fn resume(&self, id: OrganizationId, audit: &AuditContext, now: Time) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                let resumed = rows_affected!(
                    tx,
                    "update organizations
                     set suspend_time = null
                     where id = $1 and delete_time is null and suspend_time is not null",
                    [id]
                )?;
                if resumed == 0 {
                    return tx.rollback(()).await;
                }
                require_active(&mut tx, audit).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(()).await
            })
            .await
    }
}

impl_from_row!(
    OrganizationAccount:
    id, display_name, create_time, suspend_time, member_count, project_count, live_stream_count
);
