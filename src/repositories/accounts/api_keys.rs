use std::collections::HashMap;

use uuid::Uuid;

use super::{notices::Notices, revocations, session_rows};
use crate::{
    auth::{ApiKeySecret, Sealer},
    database::{Database, Transaction},
    domain::{
        ApiKey, ApiKeyId, AuditContext, CreateTimeRange, EmailKind, NewApiKey, OrganizationId,
        Page, ProjectId, Role, SessionId, Tenant, Time, UserId,
    },
    error::{Error, Result},
    repositories::{IdempotencyKey, audit_log, idempotency::change_once, organizations},
};

/// API keys of users, and the exchange of all keys.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    database: Database,
    notices: Notices,
}

/// The secret of a new key, of a user or an operator.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// Its hash.
    pub hash: Vec<u8>,
    /// With a request id, for a repetition of the request.
    pub repeatable: Option<RepeatableSecret>,
}

/// A secret that a repetition of the request returns again.
#[derive(Debug, Clone)]
pub struct RepeatableSecret {
    /// The identity of the request.
    pub idempotency: IdempotencyKey,
    /// The secret, sealed. It is deleted with the request id.
    pub sealed: Vec<u8>,
}

impl NewSecret {
    /// The secret of a key. With the identity of a request, a repetition returns it again.
    pub fn new(
        id: ApiKeyId,
        secret: &ApiKeySecret,
        idempotency: Option<IdempotencyKey>,
        sealer: &Sealer,
    ) -> Self {
        let repeatable = idempotency.map(|idempotency| RepeatableSecret {
            idempotency,
            sealed: secret.seal(id, sealer),
        });
        Self {
            hash: secret.hash(),
            repeatable,
        }
    }

    /// The identity of the request, if it has one.
    pub fn idempotency(&self) -> Option<&IdempotencyKey> {
        self.repeatable.as_ref().map(|secret| &secret.idempotency)
    }

    /// Stores the request with the key that it creates, and with the sealed secret, if the
    /// request has an identity.
    pub(super) async fn record(&self, tx: &mut Transaction, id: ApiKeyId, now: Time) -> Result<()> {
        let Some(secret) = &self.repeatable else {
            return Ok(());
        };
        let sealed = Some(secret.sealed.as_slice());
        let request = &secret.idempotency;
        request.record_with_secret(tx, id.uuid(), sealed, now).await
    }
}

/// The columns of [`ApiKey`].
macro_rules! api_key_columns {
    () => {
        "id, user_id, organization_id, display_name, scopes, restricted, node_id, create_time,
         expire_time, last_used_time"
    };
}

/// Which keys are listed.
#[derive(Debug, Clone, Copy)]
pub enum ListedKeys {
    /// Those of the personal organization of a user.
    Personal(UserId),
    /// Those of another organization that a member has created or adopted; all if the member is an
    /// admin.
    OfOrganization(OrganizationId, UserId),
}

/// The conditions of [`ListedKeys`].
macro_rules! personal {
    () => {
        "user_id = $1 and organization_id is null"
    };
}
macro_rules! of_organization {
    () => {
        "organization_id = $1 and exists (
             select 1 from memberships m
             where m.organization_id = $1 and m.user_id = $6
               and (api_keys.user_id = $6 or $7 like '%' || m.role || '%'))"
    };
}

/// Selects a page of keys that meet a condition.
macro_rules! select_page {
    ($columns:expr, $condition:expr) => {
        concat!(
            "select ",
            $columns,
            " from api_keys where ",
            $condition,
            " and id < $2 and create_time > $4 and create_time < $5
              order by id desc
              limit $3",
        )
    };
}

/// Selects the projects to which the keys of a page are restricted.
macro_rules! select_links {
    ($condition:expr) => {
        concat!(
            "select api_key_id, project_id
             from api_key_projects
             where api_key_id in (",
            select_page!("id", $condition),
            ") order by project_id",
        )
    };
}

impl ApiKeys {
    /// API keys in this database.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            notices: Notices::default(),
        }
    }

    /// Queues notices of changes.
    #[must_use]
    pub fn with_notices(self, notices: Notices) -> Self {
        Self { notices, ..self }
    }

    /// Creates a key of a user for the tenant's organization.
    ///
    /// `NotFound` if one of the projects is not one of the organization; `RoleInsufficient` if the
    /// user's role there lacks a scope of the key; `AccessTokenInvalid` if the caller's session has
    /// ended, which a replica may not know yet; `ConcurrentChange` if the same request is executed
    /// concurrently.
    pub async fn create(
        &self,
        id: ApiKeyId,
        tenant: Tenant,
        key: &NewApiKey,
        secret: &NewSecret,
        audit: &AuditContext,
        now: Time,
    ) -> Result<ApiKey> {
        let (user_id, secret_hash) = (tenant.user, &secret.hash);
        let organization = Some(tenant.organization).filter(|_| !tenant.is_personal());
        let scopes: Vec<_> = key.scopes.iter().collect();
        let tenant = tenant.requiring(Role::lowest_with(&scopes));
        self.database
            .transaction(|mut tx| async move {
                if let Some(session_id) = audit.session_id
                    && !session_rows::is_active(&mut tx, user_id, session_id, now).await?
                {
                    return Err(Error::AccessTokenInvalid);
                }
                if organization.is_some() {
                    organizations::rows::lock(&mut tx, tenant).await?;
                }
                let mut created: ApiKey = fetch_one!(
                    tx,
                    concat!(
                        "insert into api_keys
                             (id, user_id, display_name, scopes, restricted, secret_hash,
                              create_time, expire_time, organization_id)
                         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                         returning ",
                        api_key_columns!(),
                    ),
                    [
                        id,
                        user_id,
                        key.display_name.as_str(),
                        key.scopes.to_string(),
                        !key.project_ids.is_empty(),
                        secret_hash,
                        now,
                        key.expire_time,
                        organization
                    ]
                )?;

                for project_id in &key.project_ids {
                    let added = rows_affected!(
                        tx,
                        "insert into api_key_projects (api_key_id, project_id)
                         select $1, id
                         from projects
                         where id = $2 and owner_id = $3 and delete_time is null
                         on conflict do nothing",
                        [id, *project_id, tenant.organization]
                    )?;
                    if added == 0 {
                        return Err(Error::not_found("project", *project_id));
                    }
                }
                secret.record(&mut tx, id, now).await?;
                let (notices, kind) = (self.notices, EmailKind::NewApiKey);
                notices.queue(&mut tx, user_id, kind, "", now).await?;
                let audit = audit.clone().with_organization(tenant.organization);
                audit_log::record(&mut tx, &audit, now).await?;
                created.project_ids.clone_from(&key.project_ids);
                tx.commit(created).await
            })
            .await
    }

    /// The key of a user that this request created before, with its sealed secret, if the request
    /// is a repetition. `NotFound` if the key has been revoked since.
    pub async fn find_created(
        &self,
        user_id: UserId,
        idempotency: &IdempotencyKey,
        now: Time,
    ) -> Result<Option<(ApiKey, Vec<u8>)>> {
        let Some(id) = idempotency.find(&self.database, now).await? else {
            return Ok(None);
        };
        let gone = || Error::not_found("api_key", ApiKeyId::from(id));
        let sealed = idempotency.find_secret(&self.database).await?;
        let key: Option<ApiKey> = fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                api_key_columns!(),
                " from api_keys where id = $1 and user_id = $2",
            ),
            [id, user_id]
        )?;
        let mut key = key.ok_or_else(gone)?;
        key.project_ids = fetch_scalars!(
            self.database.reader(),
            "select project_id
             from api_key_projects
             where api_key_id = $1
             order by project_id",
            [id]
        )?;
        Ok(Some((key, sealed.ok_or_else(gone)?)))
    }

    /// Keys, newest first.
    pub async fn list(
        &self,
        listed: ListedKeys,
        created: CreateTimeRange,
        page: Page,
    ) -> Result<Vec<ApiKey>> {
        let reader = self.database.reader();
        let (CreateTimeRange { after, before }, below, limit) = (created, page.below, page.limit());
        let (mut keys, links): (Vec<ApiKey>, Vec<(ApiKeyId, ProjectId)>) = match listed {
            ListedKeys::Personal(user) => (
                fetch_all!(
                    reader,
                    select_page!(api_key_columns!(), personal!()),
                    [user, below, limit, after, before]
                )?,
                fetch_all!(
                    self.database.reader(),
                    select_links!(personal!()),
                    [user, below, limit, after, before]
                )?,
            ),
            ListedKeys::OfOrganization(id, user) => {
                let admins = Role::Admin.and_higher();
                (
                    fetch_all!(
                        reader,
                        select_page!(api_key_columns!(), of_organization!()),
                        [id, below, limit, after, before, user, admins]
                    )?,
                    fetch_all!(
                        self.database.reader(),
                        select_links!(of_organization!()),
                        [id, below, limit, after, before, user, admins]
                    )?,
                )
            }
        };
        let mut projects: HashMap<ApiKeyId, Vec<ProjectId>> = HashMap::new();
        for (api_key_id, project_id) in links {
            projects.entry(api_key_id).or_default().push(project_id);
        }

        for key in &mut keys {
            key.project_ids = projects.remove(&key.id).unwrap_or_default();
        }
        Ok(keys)
    }

    /// Deletes one of a user's keys, or one of an organization in which the user is an admin. A
    /// repeated request changes nothing.
    pub async fn revoke(
        &self,
        user_id: UserId,
        id: ApiKeyId,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        let revoke = self.database.transaction(|mut tx| async move {
            let organization: Option<OrganizationId> = fetch_optional_scalar!(
                tx,
                "delete from api_keys
                 where id = $2 and (user_id = $1 or exists (
                     select 1 from memberships m
                     where m.organization_id = api_keys.organization_id and m.user_id = $1
                       and $3 like '%' || m.role || '%'))
                 returning coalesce(organization_id, user_id)",
                [user_id, id, Role::Admin.and_higher()]
            )?;
            let organization = organization.ok_or_else(|| Error::not_found("api_key", id))?;
            revocations::insert(&mut tx, id.uuid(), now).await?;
            if let Some(key) = idempotency {
                key.record(&mut tx, id.uuid(), now).await?;
            }
            let audit = audit.clone().with_organization(organization);
            audit_log::record(&mut tx, &audit, now).await?;
            tx.commit(()).await
        });
        change_once(&self.database, idempotency, now, revoke, |_| async {
            Ok(())
        })
        .await
    }

    /// Makes an owner the user of a key of the organization, so that it does not end with the
    /// membership of its creator. `RoleInsufficient` for another member.
    pub async fn adopt(
        &self,
        owner: UserId,
        id: ApiKeyId,
        audit: &AuditContext,
        now: Time,
    ) -> Result<ApiKey> {
        self.database
            .transaction(|mut tx| async move {
                let organization: Option<OrganizationId> = fetch_optional_scalar!(
                    tx,
                    "select organization_id from api_keys
                     where id = $1 and organization_id is not null",
                    [id]
                )?;
                let gone = || Error::not_found("api_key", id);
                let tenant = Tenant::of_user(owner)
                    .in_organization(organization.ok_or_else(gone)?)
                    .requiring(Role::Owner);
                let locked = organizations::rows::lock(&mut tx, tenant).await;
                locked.map_err(|error| match error {
                    Error::NotFound { .. } => gone(),
                    error => error,
                })?;
                session_rows::require_active(&mut tx, audit).await?;
                let adopted: Option<ApiKey> = fetch_optional!(
                    tx,
                    concat!(
                        "update api_keys set user_id = $2 where id = $1 returning ",
                        api_key_columns!(),
                    ),
                    [id, owner]
                )?;
                let mut adopted = adopted.ok_or_else(gone)?;
                adopted.project_ids = fetch_scalars!(
                    tx,
                    "select project_id
                     from api_key_projects
                     where api_key_id = $1
                     order by project_id",
                    [id]
                )?;
                let audit = audit.clone().with_organization(tenant.organization);
                audit_log::record(&mut tx, &audit, now).await?;
                tx.commit(adopted).await
            })
            .await
    }

    /// The key with this secret, whose last use is now. `None` if it is unknown, expired or
    /// revoked.
    ///
    /// `project_ids` remains empty, also for a restricted key.
    pub async fn exchange(&self, secret_hash: &[u8], now: Time) -> Result<Option<ApiKey>> {
        fetch_optional!(
            self.database.writer(),
            concat!(
                "update api_keys
                 set last_used_time = $2
                 where secret_hash = $1 and (expire_time is null or expire_time > $2)
                   and revoke_time is null
                 returning ",
                api_key_columns!(),
            ),
            [secret_hash, now]
        )
    }
}

/// Ends all sessions and deletes all keys of a user; returns the ids of both.
pub(super) async fn end_access(
    tx: &mut Transaction,
    user_id: UserId,
    now: Time,
) -> Result<Vec<Uuid>> {
    let sessions = session_rows::revoke_all(tx, user_id, None, now).await?;
    let mut ended: Vec<_> = sessions.into_iter().map(SessionId::uuid).collect();
    ended.extend(delete_all(tx, user_id, now).await?);
    Ok(ended)
}

/// Deletes all keys of a user; returns their ids.
pub(super) async fn delete_all(
    tx: &mut Transaction,
    user_id: UserId,
    now: Time,
) -> Result<Vec<Uuid>> {
    let deleted: Vec<Uuid> = fetch_scalars!(
        tx,
        "delete from api_keys where user_id = $1 returning id",
        [user_id]
    )?;
    for id in &deleted {
        revocations::insert(tx, *id, now).await?;
    }
    Ok(deleted)
}

/// Deletes the keys of a locked organization: those of one user, or all; returns their ids.
pub(crate) async fn delete_in_organization(
    tx: &mut Transaction,
    organization: OrganizationId,
    user: Option<UserId>,
    now: Time,
) -> Result<Vec<Uuid>> {
    let deleted: Vec<Uuid> = fetch_scalars!(
        tx,
        "delete from api_keys
         where organization_id = $1 and ($2 is null or user_id = $2)
         returning id",
        [organization, user]
    )?;
    for id in &deleted {
        revocations::insert(tx, *id, now).await?;
    }
    Ok(deleted)
}

// The projects are read on their own.
impl_from_row!(
    ApiKey:
    id, user_id, organization_id, display_name, scopes, restricted, node_id, create_time,
    expire_time, last_used_time;
    |_row|
    project_ids: Vec::new(),
);
