//! Rows of organizations and memberships.
//!
//! A transaction that changes the members of an organization locks its row first: the changes
//! happen one after the other, so that an owner always remains. Nobody is a member of a deleted
//! organization. Who locks an account too locks it before.

use uuid::Uuid;

use crate::{
    database::Transaction,
    domain::{Invitation, Member, Organization, OrganizationId, Role, Tenant, Time, UserId},
    error::{Error, Result},
    repositories::accounts::api_keys,
};

/// Selects [`Organization`]s of memberships `m`.
macro_rules! select_organizations {
    () => {
        "select o.id,
                case when o.personal then u.display_name else o.display_name end as display_name,
                o.personal, m.role, o.create_time, o.update_time
         from memberships m
         join organizations o on o.id = m.organization_id
         join users u on u.id = m.user_id"
    };
}

/// Selects [`Member`]s: memberships `m`.
macro_rules! select_members {
    () => {
        "select m.user_id, u.email, u.display_name, m.role, m.create_time, m.update_time
         from memberships m
         join users u on u.id = m.user_id"
    };
}

/// The columns of [`Invitation`].
macro_rules! invitation_columns {
    () => {
        "id, organization_id, email, role, inviter_id, create_time, expire_time"
    };
}
pub(super) use {invitation_columns, select_members, select_organizations};

/// Locks the organization of a tenant; returns the role of its user.
///
/// `RoleInsufficient` if that is lower than the tenant's. `NotFound` if the user is no member;
/// `AccessTokenInvalid` if it is the personal organization: then the account is deleted, which this
/// replica may not know yet.
pub(crate) async fn lock(tx: &mut Transaction, tenant: Tenant) -> Result<Role> {
    lock_row(tx, tenant.organization).await?;
    let role = match belongs_to_key(tx, tenant).await? {
        true => role_of(tx, tenant.organization, tenant.user).await?,
        false => None,
    };
    match role {
        Some(role) if role.includes(tenant.role) => Ok(role),
        Some(_) => Err(Error::RoleInsufficient(tenant.role)),
        None if tenant.is_personal() => Err(Error::AccessTokenInvalid),
        None => Err(Error::not_found("organization", tenant.organization)),
    }
}

/// Whether the API key of a tenant, if there is one, is one of the tenant's organization.
async fn belongs_to_key(tx: &mut Transaction, tenant: Tenant) -> Result<bool> {
    let Some(key) = tenant.key else {
        return Ok(true);
    };
    exists!(
        tx,
        "select id from api_keys where id = $1 and coalesce(organization_id, user_id) = $2",
        [key, tenant.organization]
    )
}

/// The same for an organization that is not a personal one; `OrganizationPersonal` otherwise.
pub(super) async fn lock_shared(tx: &mut Transaction, tenant: Tenant) -> Result<Role> {
    let role = lock(tx, tenant).await?;
    // No other user is a member of a personal organization.
    match tenant.is_personal() {
        true => Err(Error::OrganizationPersonal),
        false => Ok(role),
    }
}

/// Locks the row of an organization.
pub(super) async fn lock_row(tx: &mut Transaction, id: OrganizationId) -> Result<()> {
    // On SQLite nothing else writes meanwhile.
    if let Transaction::Postgres(_) = tx {
        let sql = "select id from organizations where id = $1 for no key update";
        execute!(tx, sql, [id])?;
    }
    Ok(())
}

/// The role of a user in an organization.
pub(super) async fn role_of(
    tx: &mut Transaction,
    id: OrganizationId,
    user: UserId,
) -> Result<Option<Role>> {
    fetch_optional_scalar!(
        tx,
        "select role from memberships where organization_id = $1 and user_id = $2",
        [id, user]
    )
}

/// Inserts a member. Changes nothing if the user is one already.
pub(super) async fn insert_member(
    tx: &mut Transaction,
    id: OrganizationId,
    user: UserId,
    role: Role,
    now: Time,
) -> Result<()> {
    execute!(
        tx,
        "insert into memberships (organization_id, user_id, role, create_time, update_time)
         values ($1, $2, $3, $4, $4)
         on conflict do nothing",
        [id, user, role.as_str(), now]
    )
}

/// `LastOwner` unless another owner than this one remains in a locked organization.
pub(super) async fn require_another_owner(
    tx: &mut Transaction,
    id: OrganizationId,
    owner: UserId,
) -> Result<()> {
    let remains = exists!(
        tx,
        "select user_id
         from memberships
         where organization_id = $1 and role = $2 and user_id <> $3
         limit 1",
        [id, Role::Owner.as_str(), owner]
    )?;
    match remains {
        true => Ok(()),
        false => Err(Error::LastOwner),
    }
}

/// Ends the membership of a user in a locked organization, with what depends on it; returns the ids
/// of the API keys that end.
pub(super) async fn end_membership(
    tx: &mut Transaction,
    id: OrganizationId,
    user: UserId,
    now: Time,
) -> Result<Vec<Uuid>> {
    execute!(
        tx,
        "delete from memberships where organization_id = $1 and user_id = $2",
        [id, user]
    )?;
    revoke_invitations_of(tx, id, user, now).await?;
    api_keys::delete_in_organization(tx, id, Some(user), now).await
}

/// Ends the invitations that a member has sent.
pub(super) async fn revoke_invitations_of(
    tx: &mut Transaction,
    id: OrganizationId,
    inviter: UserId,
    now: Time,
) -> Result<()> {
    execute!(
        tx,
        "update invitations
         set revoke_time = $3, token_hash = null
         where organization_id = $1 and inviter_id = $2 and accept_time is null
           and revoke_time is null",
        [id, inviter, now]
    )
}

/// Marks a locked organization as deleted. Nobody is its member any more. Its projects and webhooks
/// are deleted later ([`Deletions`](crate::repositories::Deletions)). Returns the ids of the API keys
/// that end.
pub(super) async fn mark_deleted(
    tx: &mut Transaction,
    id: OrganizationId,
    now: Time,
) -> Result<Vec<Uuid>> {
    execute!(
        tx,
        "update organizations
         set delete_time = $2, update_time = $2, display_name = ''
         where id = $1",
        [id, now]
    )?;
    for sql in [
        "delete from invitations where organization_id = $1",
        "delete from memberships where organization_id = $1",
    ] {
        execute!(tx, sql, [id])?;
    }
    api_keys::delete_in_organization(tx, id, None, now).await
}

/// Ends all memberships of a locked account that is being deleted, and whose API keys have ended.
/// Organizations without other members are deleted; `LastOwner` if one with other members would have
/// no owner.
pub(crate) async fn leave_all(tx: &mut Transaction, user: UserId, now: Time) -> Result<()> {
    let left: Vec<OrganizationId> = fetch_scalars!(
        tx,
        "select organization_id
         from memberships
         where user_id = $1 and organization_id <> $1
         order by organization_id",
        [user]
    )?;
    for id in left {
        lock_row(tx, id).await?;
        let has_others = exists!(
            tx,
            "select user_id
             from memberships
             where organization_id = $1 and user_id <> $2
             limit 1",
            [id, user]
        )?;
        if !has_others {
            mark_deleted(tx, id, now).await?;
            continue;
        }
        if role_of(tx, id, user).await? == Some(Role::Owner) {
            require_another_owner(tx, id, user).await?;
        }
        end_membership(tx, id, user, now).await?;
    }
    Ok(())
}

impl_from_row!(Organization: id, display_name, personal, role, create_time, update_time);
impl_from_row!(Member: user_id, email, display_name, role, create_time, update_time);
impl_from_row!(
    Invitation:
    id, organization_id, email, role, inviter_id, create_time, expire_time
);
