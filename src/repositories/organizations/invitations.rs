//! Invitations. Their rows remain until they expire, because they limit how many are sent.
//!
//! The message goes to the address whether or not it has an account. Only the mailer makes the
//! token, so that its text exists only in the message; the last one that was sent is valid.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    Organizations,
    members::require_higher,
    organizations::{load, lock_user},
    rows::{insert_member, invitation_columns, lock, lock_row, lock_shared, role_of},
};
use crate::{
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::{
        AuditContext, EmailKind, EmailMessageId, Invitation, InvitationId, NewInvitation,
        Organization, OrganizationId, Page, Role, Tenant, Time, UserId,
    },
    error::{Error, Result},
    repositories::{
        Created, IdempotencyKey, accounts::session_rows::require_active, audit_log,
        idempotency::create_once,
    },
};

/// The time within which an invitation can be accepted.
const LIFETIME: TimeDelta = TimeDelta::days(7);

/// The condition that an invitation can be accepted at the time that `$now` binds.
macro_rules! pending {
    ($now:literal) => {
        concat!(
            "accept_time is null and revoke_time is null and expire_time > ",
            $now
        )
    };
}

impl Organizations {
    /// Invites an address to the tenant's organization, and queues the message; or returns the
    /// invitation that the same request created. Whether the address has an account makes no
    /// difference.
    pub async fn create_invitation(
        &self,
        tenant: Tenant,
        new: &NewInvitation,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Created<Invitation>> {
        let insert = self.insert_invitation(tenant, new, idempotency, audit, now);
        let get = |id: Uuid| self.get_invitation(tenant, id.into());
        create_once(&self.database, idempotency, now, insert, get).await
    }

    async fn insert_invitation(
        &self,
        tenant: Tenant,
        new: &NewInvitation,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Invitation> {
        self.database
            .transaction(|mut tx| async move {
                let own = lock_shared(&mut tx, tenant).await?;
                require_active(&mut tx, audit).await?;
                require_higher(own, [new.role])?;
                let count: i64 = fetch_scalar!(
                    tx,
                    "select count(*)
                     from invitations
                     where organization_id = $1 and expire_time > $2",
                    [tenant.organization, now]
                )?;
                if count >= self.limits.invitations {
                    return Err(Error::InvitationLimit);
                }
                let created: Invitation = fetch_one!(
                    tx,
                    concat!(
                        "insert into invitations
                             (id, organization_id, email, email_key, role, inviter_id,
                              create_time, expire_time)
                         values ($1, $2, $3, $4, $5, $6, $7, $8)
                         returning ",
                        invitation_columns!(),
                    ),
                    [
                        new.id,
                        tenant.organization,
                        new.email.as_str(),
                        new.email.key(),
                        new.role.as_str(),
                        tenant.user,
                        now,
                        now + LIFETIME
                    ]
                )?;
                queue_message(&mut tx, new.id, now).await?;
                if let Some(key) = idempotency {
                    key.record(&mut tx, new.id.uuid(), now).await?;
                }
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(created).await
            })
            .await
    }

    async fn get_invitation(&self, tenant: Tenant, id: InvitationId) -> Result<Invitation> {
        self.get(tenant).await?;
        let found: Option<Invitation> = fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                invitation_columns!(),
                " from invitations where id = $1 and organization_id = $2",
            ),
            [id, tenant.organization]
        )?;
        found.ok_or_else(|| Error::not_found("invitation", id))
    }

    /// The invitations to the tenant's organization that can be accepted, newest first. The caller
    /// has checked the role of the tenant's user.
    pub async fn list_invitations(
        &self,
        tenant: Tenant,
        page: Page,
        now: Time,
    ) -> Result<Vec<Invitation>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                invitation_columns!(),
                " from invitations
                 where organization_id = $1 and id < $2 and ",
                pending!("$4"),
                " order by id desc
                 limit $3",
            ),
            [tenant.organization, page.below, page.limit(), now]
        )
    }

    /// Ends an invitation to an organization in which the user is an admin.
    pub async fn revoke_invitation(
        &self,
        user: Tenant,
        id: InvitationId,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                let gone = || Error::not_found("invitation", id);
                let organization: Option<OrganizationId> = fetch_optional_scalar!(
                    tx,
                    concat!(
                        "select organization_id from invitations where id = $1 and ",
                        pending!("$2"),
                    ),
                    [id, now]
                )?;
                let tenant = user.in_organization(organization.ok_or_else(gone)?);
                lock(&mut tx, tenant).await.map_err(|error| match error {
                    Error::NotFound { .. } => gone(),
                    error => error,
                })?;
                let revoked = rows_affected!(
                    tx,
                    concat!(
                        "update invitations
                         set revoke_time = $2, token_hash = null
                         where id = $1 and ",
                        pending!("$2"),
                    ),
                    [id, now]
                )?;
                if revoked == 0 {
                    return Err(gone());
                }
                let audit = audit.clone().with_organization(tenant.organization);
                audit_log::record(&mut tx, &audit, now).await?;
                tx.commit(()).await
            })
            .await
    }

    /// Accepts the invitation with a token, which was sent to the verified address of the user.
    /// Somebody who is a member already keeps the role.
    pub async fn accept_invitation(
        &self,
        user: UserId,
        hash: &[u8],
        audit: &AuditContext,
        now: Time,
    ) -> Result<Organization> {
        self.database
            .transaction(|mut tx| async move {
                lock_user(&mut tx, user).await?;
                require_active(&mut tx, audit).await?;
                let (id, organization, role) = find_by_token(&mut tx, user, hash, now).await?;
                lock_row(&mut tx, organization).await?;
                let accepted = rows_affected!(
                    tx,
                    concat!(
                        "update invitations
                         set accept_time = $2, token_hash = null
                         where id = $1 and ",
                        pending!("$2"),
                    ),
                    [id, now]
                )?;
                // Another acceptance or a revocation was faster.
                if accepted == 0 {
                    return Err(Error::MailTokenInvalid);
                }
                if role_of(&mut tx, organization, user).await?.is_none() {
                    self.require_room(&mut tx, user).await?;
                    self.require_room_for_member(&mut tx, organization).await?;
                    insert_member(&mut tx, organization, user, role, now).await?;
                }
                let tenant = Tenant::of_user(user).in_organization(organization);
                let joined = load(&mut tx, tenant).await?;
                let audit = audit
                    .clone()
                    .with_resource(organization)
                    .with_organization(organization);
                audit_log::record(&mut tx, &audit, now).await?;
                tx.commit(joined).await
            })
            .await
    }

    /// `MemberLimit` if a locked organization has the most members.
    async fn require_room_for_member(
        &self,
        tx: &mut Transaction,
        id: OrganizationId,
    ) -> Result<()> {
        let count: i64 = fetch_scalar!(
            tx,
            "select count(*) from memberships where organization_id = $1",
            [id]
        )?;
        match count < self.limits.members {
            true => Ok(()),
            false => Err(Error::MemberLimit),
        }
    }

    /// Stores the token of a message; returns the address that it goes to. `None` if the invitation
    /// cannot be accepted any more.
    pub async fn issue_token(
        database: &Database,
        id: InvitationId,
        hash: &[u8],
        now: Time,
    ) -> Result<Option<String>> {
        fetch_optional_scalar!(
            database.writer(),
            concat!(
                "update invitations set token_hash = $2 where id = $1 and ",
                pending!("$3"),
                " returning email",
            ),
            [id, hash, now]
        )
    }

    /// Deletes a batch of expired invitations.
    pub async fn purge_invitations(
        database: &Database,
        now: Time,
        batch: Batch,
    ) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from invitations
             where id in (
                 select id
                 from invitations
                 where expire_time < $1
                 order by expire_time
                 limit $2 offset $3)";
        database.delete_batch(DELETE, now, batch).await
    }
}

/// Queues the message of an invitation. The mailer finds its address in the invitation, of which
/// the message has the id instead.
async fn queue_message(tx: &mut Transaction, id: InvitationId, now: Time) -> Result<()> {
    execute!(
        tx,
        "insert into outbox (id, kind, email_key, create_time, attempts, next_attempt_time)
         values ($1, $2, $3, $4, 0, $4)",
        [
            EmailMessageId::generate(),
            EmailKind::Invitation.as_str(),
            id.to_string(),
            now
        ]
    )
}

/// The invitation with a token that was sent to the verified address of a user.
async fn find_by_token(
    tx: &mut Transaction,
    user: UserId,
    hash: &[u8],
    now: Time,
) -> Result<(InvitationId, OrganizationId, Role)> {
    let found: Option<(InvitationId, OrganizationId, Role)> = fetch_optional!(
        tx,
        concat!(
            "select i.id, i.organization_id, i.role
             from invitations i
             join users u on u.email_key = i.email_key
             where i.token_hash = $1 and u.id = $2 and u.email_verified and ",
            pending!("$3"),
        ),
        [hash, user, now]
    )?;
    found.ok_or(Error::MailTokenInvalid)
}
