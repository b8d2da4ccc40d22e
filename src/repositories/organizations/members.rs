use uuid::Uuid;

use super::{
    Organizations,
    rows::{
        end_membership, lock_shared, require_another_owner, revoke_invitations_of, role_of,
        select_members,
    },
};
use crate::{
    database::Transaction,
    domain::{AuditContext, Member, Page, Role, Tenant, Time, UserId},
    error::{Error, Result},
    repositories::{accounts::session_rows::require_active, audit_log},
};

/// The members of organizations.
impl Organizations {
    /// The members of the tenant's organization, those with the newest accounts first. The caller
    /// has checked that the tenant's user is one of them.
    pub async fn list_members(&self, tenant: Tenant, page: Page) -> Result<Vec<Member>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                select_members!(),
                " where m.organization_id = $1 and m.user_id < $2
                  order by m.user_id desc
                  limit $3"
            ),
            [tenant.organization, page.below, page.limit()]
        )
    }

    /// Changes the role of a member of the tenant's organization. `LastOwner` if no owner would
    /// remain. Changes nothing if the member has the role.
    pub async fn update_member(
        &self,
        tenant: Tenant,
        user: UserId,
        role: Role,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Member> {
        let id = tenant.organization;
        self.database
            .transaction(|mut tx| async move {
                let own = lock_shared(&mut tx, tenant).await?;
                require_active(&mut tx, audit).await?;
                let before = require_member(&mut tx, tenant, user).await?;
                require_higher(own, [before, role])?;
                if before == role {
                    let member = load(&mut tx, tenant, user).await?;
                    return tx.rollback(member).await;
                }
                if before == Role::Owner {
                    require_another_owner(&mut tx, id, user).await?;
                }
                execute!(
                    tx,
                    "update memberships
                     set role = $3, update_time = $4
                     where organization_id = $1 and user_id = $2",
                    [id, user, role.as_str(), now]
                )?;
                if !role.includes(Role::Admin) {
                    revoke_invitations_of(&mut tx, id, user, now).await?;
                }
                let member = load(&mut tx, tenant, user).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(member).await
            })
            .await
    }

    /// Ends the membership of a user in the tenant's organization. `LastOwner` if no owner would
    /// remain. Returns the ids of the API keys that end with it.
    pub async fn remove_member(
        &self,
        tenant: Tenant,
        user: UserId,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Vec<Uuid>> {
        let id = tenant.organization;
        self.database
            .transaction(|mut tx| async move {
                let own = lock_shared(&mut tx, tenant).await?;
                require_active(&mut tx, audit).await?;
                let role = require_member(&mut tx, tenant, user).await?;
                if user != tenant.user {
                    require_higher(own, [role])?;
                }
                if role == Role::Owner {
                    require_another_owner(&mut tx, id, user).await?;
                }
                let ended = end_membership(&mut tx, id, user, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(ended).await
            })
            .await
    }
}

/// The role of a member of the tenant's organization; `NotFound` if the user is none.
async fn require_member(tx: &mut Transaction, tenant: Tenant, user: UserId) -> Result<Role> {
    let role = role_of(tx, tenant.organization, user).await?;
    role.ok_or_else(|| Error::not_found("member", user))
}

/// `RoleInsufficient` if a member gives or takes away a higher role than the own one.
pub(super) fn require_higher(own: Role, roles: impl IntoIterator<Item = Role>) -> Result<()> {
    match roles.into_iter().find(|role| !own.includes(*role)) {
        Some(role) => Err(Error::RoleInsufficient(role)),
        None => Ok(()),
    }
}

async fn load(tx: &mut Transaction, tenant: Tenant, user: UserId) -> Result<Member> {
    fetch_one!(
        tx,
        concat!(
            select_members!(),
            " where m.organization_id = $1 and m.user_id = $2"
        ),
        [tenant.organization, user]
    )
}
