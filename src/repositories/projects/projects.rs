use std::collections::HashSet;

use uuid::Uuid;

use super::{
    batched_reads::{BatchedReads, MAX_BATCHED_PAGE_SIZE},
    deletion,
    rows::{
        SELECT_OWNED, load, lock_owned, owned_page, record, refusal_in, return_revision,
        select_projects,
    },
};
use crate::{
    database::{Check, Database, Pools},
    domain::{
        AuditContext, EndReason, ListFilter, Name, OrganizationId, OutagePolicy, Page, Project,
        ProjectId, ProjectUpdate, PublishConflictPolicy, ReconnectWindow, SealedStreamKey, Tenant,
        Time,
    },
    error::{Error, Result},
    repositories::{
        ChangeOptions, Created, IdempotencyKey,
        accounts::session_rows::queue_require_active,
        audit_log,
        idempotency::{change_once, create_once},
        quotas::{self, may_have_project},
        sql::{fetch_all_in, is_member, owned_by, owned_in, refusal},
        streams::rows::end_all,
    },
};

/// Projects of organizations.
#[derive(Debug, Clone)]
pub struct Projects {
    pub(super) database: Database,
    /// On PostgreSQL only: a read of SQLite has no round trip to save.
    batched: Option<BatchedReads>,
}

/// A project to create.
#[derive(Debug, Clone)]
pub struct NewProject {
    /// The id.
    pub id: ProjectId,
    /// The name.
    pub display_name: Name,
    /// The time that a stream waits for its publisher to reconnect.
    pub reconnect_window: ReconnectWindow,
    /// The treatment of a second publisher.
    pub publish_conflict_policy: PublishConflictPolicy,
    /// What destinations get while the publisher is away.
    pub outage_policy: OutagePolicy,
    /// The stream key.
    pub stream_key: SealedStreamKey,
    /// The identity of the request, so that a repeated one creates no second project.
    pub idempotency: Option<IdempotencyKey>,
}

impl NewProject {
    fn created(&self, tenant: Tenant, now: Time) -> Project {
        Project {
            id: self.id,
            organization_id: Some(tenant.organization),
            display_name: self.display_name.as_str().to_owned(),
            disabled: false,
            reconnect_window: self.reconnect_window,
            publish_conflict_policy: self.publish_conflict_policy,
            outage_policy: self.outage_policy,
            stream_key_hint: self.stream_key.hint.clone(),
            live_stream_id: None,
            revision: 1,
            create_time: now,
            update_time: now,
        }
    }
}

impl Projects {
    /// Projects in this database.
    pub fn new(database: Database) -> Self {
        let batched = match &database.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres { reader, .. } => Some(BatchedReads::new(reader)),
        };
        Self { database, batched }
    }

    /// Creates a project, or returns the one that the same request created.
    pub async fn create(
        &self,
        tenant: Tenant,
        project: &NewProject,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Created<Project>> {
        let insert = self.insert(tenant, project, audit, now);
        let get = |id: Uuid| self.get(tenant, id.into());
        create_once(
            &self.database,
            project.idempotency.as_ref(),
            now,
            insert,
            get,
        )
        .await
    }

    async fn insert(
        &self,
        tenant: Tenant,
        project: &NewProject,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Project> {
        let inserted = self
            .database
            .queued_transaction(|mut tx| async move {
                quotas::queue_lock(&mut tx, tenant.organization).await?;
                queue!(
                    tx,
                    concat!(
                        "insert into projects
                         (id, owner_id, name, disabled, reconnect_window_ms,
                          publish_conflict_policy, stream_key_hash, stream_key_sealed,
                          stream_key_hint, revision, create_time, update_time, outage_policy)
                     select $1, m.organization_id, $3, false, $4, $5, $6, $7, $8, 1, $9, $9, $10
                     from memberships m
                     where m.organization_id = $11 and m.user_id = $2
                       and $12 like '%' || m.role || '%'
                       and ($13 is null or exists (
                           select 1 from api_keys k
                           where k.id = $13
                             and coalesce(k.organization_id, k.user_id) = m.organization_id))
                       and ",
                        may_have_project!("$11")
                    ),
                    [
                        project.id,
                        tenant.user,
                        project.display_name.as_str(),
                        project.reconnect_window.as_millis(),
                        project.publish_conflict_policy.as_str(),
                        &project.stream_key.hash,
                        &project.stream_key.sealed,
                        &project.stream_key.hint,
                        now,
                        project.outage_policy.as_str(),
                        tenant.organization,
                        tenant.roles(),
                        tenant.key
                    ],
                    // This replica may not know yet that the account is deleted.
                    Check::changes_row(|| Error::AccessTokenInvalid)
                )?;
                if let Some(key) = &project.idempotency {
                    key.record(&mut tx, project.id.uuid(), now).await?;
                }
                queue_require_active(&mut tx, audit).await?;
                audit_log::record(&mut tx, audit, now).await?;
                let created = project.created(tenant, now);
                record(&mut tx, &created, now).await?;
                tx.commit(created).await
            })
            .await;
        match inserted {
            Err(error @ Error::AccessTokenInvalid) => {
                let id = tenant.organization;
                Err(quotas::project_error(&self.database, id, error, now).await)
            }
            inserted => inserted,
        }
    }

    /// A project.
    pub async fn get(&self, tenant: Tenant, id: ProjectId) -> Result<Project> {
        match self.find(tenant, id).await? {
            Some(project) => Ok(project),
            None => Err(self.refusal(tenant, id).await),
        }
    }

    async fn find(&self, tenant: Tenant, id: ProjectId) -> Result<Option<Project>> {
        let unbatched = async {
            fetch_optional!(
                self.database.reader(),
                SELECT_OWNED,
                [id, tenant.user, tenant.key, tenant.roles()]
            )
        };
        match &self.batched {
            None => unbatched.await,
            Some(batched) => batched.gets.run(|| (id, tenant), unbatched).await,
        }
    }

    /// Why a tenant cannot access a project with its role.
    pub(super) async fn refusal(&self, tenant: Tenant, id: ProjectId) -> Error {
        refusal(tenant, ("project", id), async |tenant| {
            Ok(self.find(tenant, id).await?.is_some())
        })
        .await
    }

    /// The projects of the tenant's organization, newest first.
    pub async fn list(
        &self,
        tenant: Tenant,
        filter: ListFilter,
        page: Page,
    ) -> Result<Vec<Project>> {
        let unbatched = async {
            fetch_all!(
                self.database.reader(),
                concat!(select_projects!(), owned_page!()),
                [
                    page.below,
                    tenant.user,
                    tenant.key,
                    page.limit(),
                    filter.disabled,
                    filter.created.after,
                    filter.created.before,
                    tenant.organization,
                    tenant.roles()
                ]
            )
        };
        match &self.batched {
            // A key may see some projects only, which are found one by one.
            Some(batched)
                if page.size <= MAX_BATCHED_PAGE_SIZE
                    && tenant.key.is_none()
                    && filter.is_empty() =>
            {
                batched.lists.run(|| (page, tenant), unbatched).await
            }
            _ => unbatched.await,
        }
    }

    /// The same as [`Self::require_organization`], for the organization that a request names, or else
    /// means. The caller's own personal one exists as long as the account.
    pub async fn require_chosen_organization(&self, tenant: Tenant, own: Tenant) -> Result<()> {
        match tenant.is_personal() && tenant.organization == own.organization {
            true => Ok(()),
            false => self.require_organization(tenant).await,
        }
    }

    /// `NotFound` or `RoleInsufficient` unless the tenant may access its organization with its role.
    pub async fn require_organization(&self, tenant: Tenant) -> Result<()> {
        let is_member = async |tenant: Tenant| {
            exists!(
                self.database.reader(),
                concat!(
                    "select o.id from organizations o where o.id = $1 and ",
                    is_member!("o.id", "$2", "$3"),
                    " and ($4 is null or exists (
                          select 1 from api_keys k
                          where k.id = $4 and coalesce(k.organization_id, k.user_id) = o.id))",
                ),
                [tenant.organization, tenant.user, tenant.roles(), tenant.key]
            )
        };
        match is_member(tenant).await? {
            true => Ok(()),
            false => {
                let noun = ("organization", tenant.organization);
                Err(refusal(tenant, noun, is_member).await)
            }
        }
    }

    /// Which of these projects the tenant may access. Deleted ones are among them, whose last events
    /// may not have been read yet.
    pub async fn visible(&self, tenant: Tenant, ids: &[ProjectId]) -> Result<HashSet<ProjectId>> {
        let visible: Vec<(ProjectId,)> = fetch_all_in!(
            self.database.reader(),
            ["select p.id from projects p where p.id"],
            ids,
            [
                " and (p.delete_time is not null or ",
                owned_by!("$2", "$3", "$4"),
                ")"
            ],
            [tenant.user, tenant.key, tenant.roles()]
        )?;
        Ok(visible.into_iter().map(|(id,)| id).collect())
    }

    /// The ids of the projects of the tenant's organization, newest first, at most `limit`.
    pub async fn ids(&self, tenant: Tenant, limit: i64) -> Result<Vec<ProjectId>> {
        fetch_scalars!(
            self.database.reader(),
            concat!(
                "select p.id from projects p where ",
                owned_in!("$1", "$2", "$3", "$4"),
                " order by p.id desc limit $5",
            ),
            [
                tenant.organization,
                tenant.user,
                tenant.key,
                tenant.roles(),
                limit
            ]
        )
    }

    /// The projects of these organizations that were created or have moved there after a time, each
    /// with its organization.
    pub async fn created_after(
        &self,
        owners: &[OrganizationId],
        time: Time,
    ) -> Result<Vec<(OrganizationId, ProjectId)>> {
        let mut found: Vec<(OrganizationId, ProjectId)> = fetch_all_in!(
            self.database.reader(),
            ["select p.owner_id, p.id
                 from projects p
                 where p.delete_time is null and p.create_time > $2 and p.owner_id"],
            owners,
            [],
            [time]
        )?;
        let moved: Vec<(OrganizationId, ProjectId)> = fetch_all_in!(
            self.database.reader(),
            ["select p.owner_id, p.id
                 from projects p
                 where p.delete_time is null and p.transfer_time > $2 and p.owner_id"],
            owners,
            [],
            [time]
        )?;
        found.extend(moved);
        Ok(found)
    }

    /// Updates a project. Disabling it ends its active stream.
    pub async fn update(
        &self,
        tenant: Tenant,
        id: ProjectId,
        update: &ProjectUpdate,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Project> {
        let change = self.apply_update(tenant, id, update, options, audit, now);
        let get = |id: Uuid| self.get(tenant, id.into());
        change_once(
            &self.database,
            options.idempotency.as_ref(),
            now,
            change,
            get,
        )
        .await
    }

    async fn apply_update(
        &self,
        tenant: Tenant,
        id: ProjectId,
        update: &ProjectUpdate,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Project> {
        self.database
            .transaction(|mut tx| async move {
                if options.etag.is_some() {
                    lock_owned(&mut tx, tenant, id).await?;
                    return_revision(&mut tx, id).await?;
                    let before = load(&mut tx, id).await?;
                    options.check_etag(&before.etag())?;
                }
                let found = rows_affected!(
                    tx,
                    concat!(
                        "update projects as p
                         set name = coalesce($4, name),
                             disabled = coalesce($5, disabled),
                             reconnect_window_ms = coalesce($6, reconnect_window_ms),
                             publish_conflict_policy = coalesce($7, publish_conflict_policy),
                             outage_policy = coalesce($9, outage_policy),
                             revision = revision + 1,
                             update_time = $8
                         where p.id = $1 and ",
                        owned_by!("$2", "$3", "$10"),
                    ),
                    [
                        id,
                        tenant.user,
                        tenant.key,
                        update.display_name.as_ref().map(Name::as_str),
                        update.disabled,
                        update.reconnect_window.map(ReconnectWindow::as_millis),
                        update
                            .publish_conflict_policy
                            .map(PublishConflictPolicy::as_str),
                        now,
                        update.outage_policy.map(OutagePolicy::as_str),
                        tenant.roles()
                    ]
                )?;
                if found == 0 {
                    return Err(refusal_in(&mut tx, tenant, id).await);
                }

                let mut updated = load(&mut tx, id).await?;
                record(&mut tx, &updated, now).await?;
                if update.disabled == Some(true)
                    && end_all(&mut tx, id, EndReason::ProjectDisabled, now).await?
                {
                    updated = load(&mut tx, id).await?;
                }
                options.record(&mut tx, id.uuid(), now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                self.database.commit_change(tx, id).await?;
                Ok(updated)
            })
            .await
    }

    /// Deletes a project with its destinations and keys: they cannot be found any more. Their
    /// rows are deleted later ([`Deletions`]). With an active stream: ends the stream if
    /// `force`, else `ProjectLive`.
    ///
    /// [`Deletions`]: crate::repositories::Deletions
    pub async fn delete(
        &self,
        tenant: Tenant,
        id: ProjectId,
        force: bool,
        options: &ChangeOptions,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        let change = self.database.transaction(|mut tx| async move {
            lock_owned(&mut tx, tenant, id).await?;
            if options.etag.is_some() {
                let before = load(&mut tx, id).await?;
                options.check_etag(&before.etag())?;
            }
            let was_live = deletion::delete_locked(&mut tx, id, now).await?;
            if was_live && !force {
                return Err(Error::ProjectLive);
            }
            options.record(&mut tx, id.uuid(), now).await?;
            audit_log::record(&mut tx, audit, now).await?;
            self.database.commit_change(tx, id).await
        });
        let key = options.idempotency.as_ref();
        change_once(&self.database, key, now, change, |_| async { Ok(()) }).await
    }
}
