use std::time::Duration;

use uuid::Uuid;

use super::rows::{target_columns, webhook_columns, webhook_owned_by};
use crate::{
    database::{Database, Transaction},
    domain::{
        AuditContext, ListFilter, Name, NewWebhook, OrganizationId, Page, ProjectId, Tenant, Time,
        Webhook, WebhookDeliveryState, WebhookId, WebhookTarget, WebhookUpdate, WebhookUrl,
    },
    error::{Error, Result},
    repositories::{
        ChangeOptions, Created, IdempotencyKey,
        accounts::session_rows::require_active,
        audit_log,
        idempotency::{change_once, create_once},
        organizations,
        sql::{owned_by, refusal},
    },
};

/// Webhooks of tenants.
#[derive(Debug, Clone)]
pub struct Webhooks {
    database: Database,
    limit: i64,
}

/// A secret that replaces another one.
#[derive(Debug)]
pub struct SecretRotation {
    /// The new secret, sealed.
    pub sealed: Vec<u8>,
    /// How long messages are signed with the old secret too.
    pub grace: Duration,
    /// The identity of the request, so that a repeated one does not rotate again.
    pub idempotency: Option<IdempotencyKey>,
}

/// Selects a webhook of a tenant.
const SELECT_OWNED: &str = concat!(
    "select ",
    webhook_columns!("w."),
    " from webhooks w where w.id = $1 and ",
    webhook_owned_by!("$2", "$3", "$4"),
);

impl Webhooks {
    /// Webhooks in this database, at most `limit` per organization.
    pub fn new(database: Database, limit: i64) -> Self {
        Self { database, limit }
    }

    /// Creates a webhook, or returns the one that the same request created. It begins after the
    /// events that there are.
    pub async fn create(
        &self,
        tenant: Tenant,
        webhook: &NewWebhook,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Created<Webhook>> {
        let insert = self.insert(tenant, webhook, idempotency, audit, now);
        let get = |id: Uuid| self.get(tenant, id.into());
        create_once(&self.database, idempotency, now, insert, get).await
    }

    async fn insert(
        &self,
        tenant: Tenant,
        webhook: &NewWebhook,
        idempotency: Option<&IdempotencyKey>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Webhook> {
        self.database
            .transaction(|mut tx| async move {
                organizations::rows::lock(&mut tx, tenant).await?;
                require_active(&mut tx, audit).await?;
                if let Some(project_id) = webhook.project_id {
                    require_project(&mut tx, tenant, project_id).await?;
                }
                if count(&mut tx, tenant.organization).await? >= self.limit {
                    return Err(Error::WebhookLimit);
                }
                let created = insert(&mut tx, tenant, webhook, now).await?;
                begin(&mut tx, tenant, webhook, now).await?;
                if let Some(key) = idempotency {
                    key.record(&mut tx, webhook.id.uuid(), now).await?;
                }
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(created).await
            })
            .await
    }

    /// A webhook.
    pub async fn get(&self, tenant: Tenant, id: WebhookId) -> Result<Webhook> {
        match self.find(tenant, id).await? {
            Some(webhook) => Ok(webhook),
            None => Err(self.refusal(tenant, id).await),
        }
    }

    async fn find(&self, tenant: Tenant, id: WebhookId) -> Result<Option<Webhook>> {
        fetch_optional!(
            self.database.reader(),
            SELECT_OWNED,
            [id, tenant.user, tenant.key, tenant.roles()]
        )
    }

    /// Why a tenant cannot access a webhook with its role.
    async fn refusal(&self, tenant: Tenant, id: WebhookId) -> Error {
        let is_visible = async |reader| Ok(self.find(reader, id).await?.is_some());
        refusal!(tenant, "webhook", id, reader => is_visible(reader).await)
    }

    /// Where the messages of a webhook go, with its sealed secrets.
    pub async fn get_target(
        &self,
        tenant: Tenant,
        id: WebhookId,
        now: Time,
    ) -> Result<WebhookTarget> {
        let found: Option<WebhookTarget> = fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                target_columns!("$4"),
                " from webhooks w where w.id = $1 and ",
                webhook_owned_by!("$2", "$3", "$5"),
            ),
            [id, tenant.user, tenant.key, now, tenant.roles()]
        )?;
        match found {
            Some(target) => Ok(target),
            None => Err(self.refusal(tenant, id).await),
        }
    }

    /// The sealed secret of a webhook, for the answer to a repeated request.
    pub async fn get_secret(
        &self,
        tenant: Tenant,
        id: WebhookId,
        audit: &AuditContext,
    ) -> Result<Vec<u8>> {
        self.database
            .transaction(|mut tx| async move {
                let sealed: Option<Vec<u8>> = fetch_optional_scalar!(
                    tx,
                    concat!(
                        "select w.secret_sealed from webhooks w where w.id = $1 and ",
                        webhook_owned_by!("$2", "$3", "$4"),
                    ),
                    [id, tenant.user, tenant.key, tenant.roles()]
                )?;
                let Some(sealed) = sealed else {
                    return Err(refusal_in(&mut tx, tenant, id).await);
                };
                require_active(&mut tx, audit).await?;
                tx.rollback(sealed).await
            })
            .await
    }

    /// The webhooks of the tenant's organization, or those of one project, newest first.
    pub async fn list(
        &self,
        tenant: Tenant,
        project_id: Option<ProjectId>,
        filter: ListFilter,
        page: Page,
    ) -> Result<Vec<Webhook>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                webhook_columns!("w."),
                " from webhooks w where w.id < $1 and w.owner_id = $9 and ",
                webhook_owned_by!("$2", "$3", "$10"),
                " and ($5 is null or w.project_id = $5)
                  and ($6 is null or w.enabled <> $6)
                  and coalesce(w.create_time, $7) > $7 and coalesce(w.create_time, $8) < $8
                  order by w.id desc
                  limit $4",
            ),
            [
                page.below,
                tenant.user,
                tenant.key,
                page.limit(),
                project_id,
                filter.disabled,
                filter.created.after,
                filter.created.before,
                tenant.organization,
                tenant.roles()
            ]
        )
    }

    /// Updates a webhook. Another endpoint, or enabling it, ends the waiting time of what is
    /// retried.
    pub async fn update(
        &self,
        tenant: Tenant,
        id: WebhookId,
        update: &WebhookUpdate,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Webhook> {
        let change = self.apply_update(tenant, id, update, options, audit, now);
        let get = |id: Uuid| self.get(tenant, id.into());
        let key = options.idempotency.as_ref();
        change_once(&self.database, key, now, change, get).await
    }

    async fn apply_update(
        &self,
        tenant: Tenant,
        id: WebhookId,
        update: &WebhookUpdate,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Webhook> {
        self.database
            .transaction(|mut tx| async move {
                let before = lock(&mut tx, tenant, id).await?;
                require_active(&mut tx, audit).await?;
                options.check_etag(&before.etag())?;
                let updated = replace(&mut tx, id, update, now).await?;
                if update.disabled == Some(true) {
                    end_retries(&mut tx, id).await?;
                } else if !updated.disabled && (update.url.is_some() || before.disabled) {
                    resume(&mut tx, id, now).await?;
                }
                options.record(&mut tx, id.uuid(), now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(updated).await
            })
            .await
    }

    /// Deletes a webhook: it cannot be found any more. Its rows are deleted later.
    pub async fn delete(
        &self,
        tenant: Tenant,
        id: WebhookId,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        let change = self.database.transaction(|mut tx| async move {
            let before = lock(&mut tx, tenant, id).await?;
            options.check_etag(&before.etag())?;
            execute!(
                tx,
                "update webhooks
                 set delete_time = $2, enabled = false, url = '', description = '',
                     secret_sealed = substr(secret_sealed, 1, 0), previous_secret_sealed = null
                 where id = $1",
                [id, now]
            )?;
            options.record(&mut tx, id.uuid(), now).await?;
            audit_log::record(&mut tx, audit, now).await?;
            tx.commit(()).await
        });
        let key = options.idempotency.as_ref();
        change_once(&self.database, key, now, change, |_| async { Ok(()) }).await
    }

    /// Replaces the secret. A repeated request changes nothing.
    pub async fn rotate_secret(
        &self,
        tenant: Tenant,
        id: WebhookId,
        new: &SecretRotation,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Created<Webhook>> {
        let rotate = self.replace_secret(tenant, id, new, audit, now);
        let get = |id: Uuid| self.get(tenant, id.into());
        create_once(&self.database, new.idempotency.as_ref(), now, rotate, get).await
    }

    async fn replace_secret(
        &self,
        tenant: Tenant,
        id: WebhookId,
        new: &SecretRotation,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Webhook> {
        let expiry = (!new.grace.is_zero()).then(|| now + new.grace);
        self.database
            .transaction(|mut tx| async move {
                lock(&mut tx, tenant, id).await?;
                require_active(&mut tx, audit).await?;
                let rotated: Webhook = fetch_one!(
                    tx,
                    concat!(
                        "update webhooks
                         set previous_secret_sealed =
                                 case when $3 is null then null else secret_sealed end,
                             previous_secret_expire_time = $3, secret_sealed = $2,
                             update_time = $4
                         where id = $1
                         returning ",
                        webhook_columns!(""),
                    ),
                    [id, &new.sealed, expiry, now]
                )?;
                if let Some(key) = &new.idempotency {
                    key.record(&mut tx, id.uuid(), now).await?;
                }
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(rotated).await
            })
            .await
    }
}

/// `NotFound` if a project is not one of the tenant's organization.
async fn require_project(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Result<()> {
    let is_owned = exists!(
        tx,
        concat!(
            "select p.id from projects p where p.id = $1 and p.owner_id = $4 and ",
            owned_by!("$2", "$3", "$5"),
        ),
        [
            id,
            tenant.user,
            tenant.key,
            tenant.organization,
            tenant.roles()
        ]
    )?;
    match is_owned {
        true => Ok(()),
        false => Err(Error::not_found("project", id)),
    }
}

/// The webhooks of an organization, without those of deleted projects.
async fn count(tx: &mut Transaction, owner: OrganizationId) -> Result<i64> {
    fetch_scalar!(
        tx,
        "select count(*)
         from webhooks w
         left join projects p on p.id = w.project_id
         where w.owner_id = $1 and w.delete_time is null and p.delete_time is null",
        [owner]
    )
}

async fn insert(
    tx: &mut Transaction,
    tenant: Tenant,
    webhook: &NewWebhook,
    now: Time,
) -> Result<Webhook> {
    fetch_one!(
        tx,
        concat!(
            "insert into webhooks
                 (id, owner_id, project_id, url, description, event_types, enabled,
                  secret_sealed, create_time, update_time)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
             returning ",
            webhook_columns!(""),
        ),
        [
            webhook.id,
            tenant.organization,
            webhook.project_id,
            webhook.url.as_str(),
            webhook.description.as_ref().map_or("", Name::as_str),
            webhook.event_types.to_string(),
            !webhook.disabled,
            &webhook.secret_sealed,
            now
        ]
    )
}

/// Begins after the events of all projects that there are, deleted ones included.
async fn begin(
    tx: &mut Transaction,
    tenant: Tenant,
    webhook: &NewWebhook,
    now: Time,
) -> Result<()> {
    execute!(
        tx,
        "insert into webhook_cursors (webhook_id, project_id, revision, next_attempt_time)
         select $1, id, revision, $4
         from projects
         where owner_id = $2 and ($3 is null or id = $3)",
        [webhook.id, tenant.organization, webhook.project_id, now]
    )
}

/// Locks a webhook of the tenant; returns it.
async fn lock(tx: &mut Transaction, tenant: Tenant, id: WebhookId) -> Result<Webhook> {
    if let Transaction::Postgres(_) = tx {
        execute!(
            tx,
            "select id from webhooks where id = $1 for no key update",
            [id]
        )?;
    }
    match find_in(tx, tenant, id).await? {
        Some(webhook) => Ok(webhook),
        None => Err(refusal_in(tx, tenant, id).await),
    }
}

async fn find_in(tx: &mut Transaction, tenant: Tenant, id: WebhookId) -> Result<Option<Webhook>> {
    fetch_optional!(
        tx,
        SELECT_OWNED,
        [id, tenant.user, tenant.key, tenant.roles()]
    )
}

/// Why a tenant cannot access a webhook with its role.
async fn refusal_in(tx: &mut Transaction, tenant: Tenant, id: WebhookId) -> Error {
    let mut is_visible = async |reader| Ok(find_in(tx, reader, id).await?.is_some());
    refusal!(tenant, "webhook", id, reader => is_visible(reader).await)
}

/// Writes the changed fields.
async fn replace(
    tx: &mut Transaction,
    id: WebhookId,
    update: &WebhookUpdate,
    now: Time,
) -> Result<Webhook> {
    let description = update.description.as_ref();
    let description = description.map(|name| name.as_ref().map_or("", Name::as_str));
    fetch_one!(
        tx,
        concat!(
            "update webhooks
             set url = coalesce($2, url),
                 description = coalesce($3, description),
                 event_types = coalesce($4, event_types),
                 enabled = coalesce($5, enabled),
                 disable_reason = case when $5 is null then disable_reason end,
                 failing_since = case when $2 is null and $5 is null then failing_since end,
                 update_time = $6
             where id = $1
             returning ",
            webhook_columns!(""),
        ),
        [
            id,
            update.url.as_ref().map(WebhookUrl::as_str),
            description,
            update.event_types.map(|types| types.to_string()),
            update.disabled.map(|disabled| !disabled),
            now
        ]
    )
}

/// Sends what is retried at once.
async fn resume(tx: &mut Transaction, id: WebhookId, now: Time) -> Result<()> {
    execute!(
        tx,
        "update webhook_cursors
         set failures = 0, failing_since = null, next_attempt_time = $2
         where webhook_id = $1 and (failures > 0 or next_attempt_time > $2)",
        [id, now]
    )?;
    execute!(
        tx,
        "update webhook_deliveries
         set state = $3, next_attempt_time = $2
         where webhook_id = $1 and state <> $4",
        [
            id,
            now,
            WebhookDeliveryState::Retrying.as_str(),
            WebhookDeliveryState::Delivered.as_str()
        ]
    )
}

/// Marks what is retried as failed.
pub(super) async fn end_retries(tx: &mut Transaction, id: WebhookId) -> Result<()> {
    execute!(
        tx,
        "update webhook_deliveries
         set state = $2, next_attempt_time = null
         where webhook_id = $1 and state = $3",
        [
            id,
            WebhookDeliveryState::Failed.as_str(),
            WebhookDeliveryState::Retrying.as_str()
        ]
    )
}
