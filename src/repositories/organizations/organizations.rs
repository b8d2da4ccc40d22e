use uuid::Uuid;

use super::rows::{insert_member, lock_shared, mark_deleted, select_organizations};
use crate::{
    database::{Database, Transaction},
    domain::{AuditContext, Name, Organization, OrganizationId, Page, Role, Tenant, Time, UserId},
    error::{Error, Result},
    repositories::{
        ChangeOptions, Created, IdempotencyKey,
        accounts::session_rows::require_active,
        audit_log,
        idempotency::{change_once, create_once},
        projects::deletion,
        sql::fetch_all_in,
    },
};

/// The most projects whose streams end in the transaction that deletes their organization. Those
/// of the others end within seconds.
const MAX_LIVE_PROJECTS: i64 = 100;

/// The limits of organizations.
#[derive(Debug, Clone, Copy)]
pub struct OrganizationLimits {
    /// The most organizations of a user, beside the personal one.
    pub organizations: i64,
    /// The most members of an organization.
    pub members: i64,
    /// The most invitations of an organization within their lifetime.
    pub invitations: i64,
}

/// Organizations, their members and invitations.
#[derive(Debug, Clone)]
pub struct Organizations {
    pub(super) database: Database,
    pub(super) limits: OrganizationLimits,
}

impl Organizations {
    /// Organizations in this database.
    pub fn new(database: Database, limits: OrganizationLimits) -> Self {
        Self { database, limits }
    }

    /// Creates an organization with its owner, or returns the one that the same request created.
    pub async fn create(
        &self,
        id: OrganizationId,
        owner: UserId,
        display_name: &Name,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Created<Organization>> {
        let insert = self.insert(id, owner, display_name, idempotency, audit, now);
        let get = |id: Uuid| self.get(Tenant::of_user(owner).in_organization(id.into()));
        create_once(&self.database, idempotency, now, insert, get).await
    }

    async fn insert(
        &self,
        id: OrganizationId,
        owner: UserId,
        display_name: &Name,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Organization> {
        self.database
            .transaction(|mut tx| async move {
                if !lock_user(&mut tx, owner).await? {
                    return Err(Error::EmailUnverified);
                }
                require_active(&mut tx, audit).await?;
                self.require_room(&mut tx, owner).await?;
                execute!(
                    tx,
                    "insert into organizations
                         (id, display_name, personal, create_time, update_time)
                     values ($1, $2, false, $3, $3)",
                    [id, display_name.as_str(), now]
                )?;
                insert_member(&mut tx, id, owner, Role::Owner, now).await?;
                if let Some(key) = idempotency {
                    key.record(&mut tx, id.uuid(), now).await?;
                }
                audit_log::record(&mut tx, audit, now).await?;
                let created = Organization {
                    id,
                    display_name: display_name.as_str().to_owned(),
                    personal: false,
                    role: Role::Owner,
                    create_time: now,
                    update_time: now,
                };
                tx.commit(created).await
            })
            .await
    }

    /// `OrganizationLimit` if a locked account has the most organizations.
    pub(super) async fn require_room(&self, tx: &mut Transaction, user: UserId) -> Result<()> {
        let count: i64 = fetch_scalar!(
            tx,
            "select count(*) from memberships where user_id = $1 and organization_id <> $1",
            [user]
        )?;
        match count < self.limits.organizations {
            true => Ok(()),
            false => Err(Error::OrganizationLimit),
        }
    }

    /// The tenant's organization, if the user is a member with the tenant's role.
    pub async fn get(&self, tenant: Tenant) -> Result<Organization> {
        let found = self.find(tenant).await?;
        let found = found.ok_or_else(|| Error::not_found("organization", tenant.organization))?;
        match found.role.includes(tenant.role) {
            true => Ok(found),
            false => Err(Error::RoleInsufficient(tenant.role)),
        }
    }

    async fn find(&self, tenant: Tenant) -> Result<Option<Organization>> {
        fetch_optional!(
            self.database.reader(),
            concat!(
                select_organizations!(),
                " where m.organization_id = $1 and m.user_id = $2"
            ),
            [tenant.organization, tenant.user]
        )
    }

    /// The organizations of a user, newest first.
    pub async fn list(&self, user: UserId, page: Page) -> Result<Vec<Organization>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                select_organizations!(),
                " where m.user_id = $1 and m.organization_id < $2
                  order by m.organization_id desc
                  limit $3"
            ),
            [user, page.below, page.limit()]
        )
    }

    /// Updates the tenant's organization. A repeated request changes nothing.
    pub async fn update(
        &self,
        tenant: Tenant,
        display_name: Option<&Name>,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Organization> {
        let change = self.database.transaction(|mut tx| async move {
            lock_shared(&mut tx, tenant).await?;
            options.check_etag(&load(&mut tx, tenant).await?.etag())?;
            execute!(
                tx,
                "update organizations
                 set display_name = coalesce($2, display_name), update_time = $3
                 where id = $1",
                [tenant.organization, display_name.map(Name::as_str), now]
            )?;
            let updated = load(&mut tx, tenant).await?;
            options
                .record(&mut tx, tenant.organization.uuid(), now)
                .await?;
            audit_log::record(&mut tx, audit, now).await?;
            tx.commit(updated).await
        });
        let key = options.idempotency.as_ref();
        change_once(&self.database, key, now, change, |_| self.get(tenant)).await
    }

    /// Deletes the tenant's organization with its projects and webhooks: they cannot be found any
    /// more, and their rows are deleted later. With an active stream: ends the stream if `force`,
    /// else `ProjectLive`. Returns the ids of the API keys that end with it.
    pub async fn delete(
        &self,
        tenant: Tenant,
        force: bool,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Vec<Uuid>> {
        let id = tenant.organization;
        // Read before, so that nothing else waits for it. A stream that begins meanwhile ends with
        // the deletion of its project.
        let live = &deletion::live_projects(&self.database, id, MAX_LIVE_PROJECTS).await?;
        let change = self.database.transaction(|mut tx| async move {
            lock_shared(&mut tx, tenant).await?;
            require_active(&mut tx, audit).await?;
            options.check_etag(&load(&mut tx, tenant).await?.etag())?;
            if !force && !live.is_empty() {
                return Err(Error::ProjectLive);
            }
            for project_id in live {
                deletion::delete_of_owner(&mut tx, *project_id, now).await?;
            }
            let ended = mark_deleted(&mut tx, id, now).await?;
            options.record(&mut tx, id.uuid(), now).await?;
            audit_log::record(&mut tx, audit, now).await?;
            self.database.commit_changes(tx, live.clone()).await?;
            Ok(ended)
        });
        let key = options.idempotency.as_ref();
        change_once(&self.database, key, now, change, |_| async {
            Ok(Vec::new())
        })
        .await
    }

    /// The memberships of these users: pairs of a user and an organization.
    pub async fn memberships(
        database: &Database,
        users: &[UserId],
    ) -> Result<Vec<(UserId, OrganizationId)>> {
        fetch_all_in!(
            database.reader(),
            ["select user_id, organization_id from memberships where user_id"],
            users,
            [],
            []
        )
    }
}

/// Locks an account, so that its organizations are counted one after the other; returns whether its
/// address is verified. `AccessTokenInvalid` if it is deleted, which this replica may not know yet.
pub(super) async fn lock_user(tx: &mut Transaction, user: UserId) -> Result<bool> {
    let sql = match tx {
        Transaction::Postgres(_) => {
            "select email_verified from users
             where id = $1 and delete_time is null
             for no key update"
        }
        Transaction::Sqlite(_) => {
            "select email_verified from users where id = $1 and delete_time is null"
        }
    };
    let is_verified: Option<bool> = fetch_optional_scalar!(tx, sql, [user])?;
    is_verified.ok_or(Error::AccessTokenInvalid)
}

/// The tenant's organization, as the transaction sees it.
pub(super) async fn load(tx: &mut Transaction, tenant: Tenant) -> Result<Organization> {
    fetch_one!(
        tx,
        concat!(
            select_organizations!(),
            " where m.organization_id = $1 and m.user_id = $2"
        ),
        [tenant.organization, tenant.user]
    )
}
