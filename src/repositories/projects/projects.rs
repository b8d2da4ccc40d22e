use super::{
    events,
    reads::ProjectReads,
    revisions::{lock_owned, return_revision, take_revision},
    rows::{load, record},
};
use crate::{
    database::Database,
    domain::{
        Act, Change, EndReason, Name, Page, Project, ProjectId, ProjectUpdate,
        PublishConflictPolicy, ReconnectWindow, SealedStreamKey, Tenant, Time,
    },
    error::{Error, Result},
    repositories::{Created, IdempotencyKey, audit_log, streams::rows::end_running},
};

/// Projects of users.
#[derive(Debug, Clone)]
pub struct Projects {
    database: Database,
    reads: ProjectReads,
}

/// A project that is to be created.
#[derive(Debug, Clone)]
pub struct NewProject {
    /// Its id.
    pub id: ProjectId,
    /// What it is called.
    pub name: Name,
    /// How long a stream waits for its publisher.
    pub reconnect_window: ReconnectWindow,
    /// What a second publisher gets.
    pub publish_conflict_policy: PublishConflictPolicy,
    /// The key with which to publish.
    pub stream_key: SealedStreamKey,
    /// So that a repeated request creates nothing.
    pub idempotency: Option<IdempotencyKey>,
}

impl NewProject {
    /// The project as it is once it is created.
    pub(crate) fn created(&self, now: Time) -> Project {
        Project {
            id: self.id,
            name: self.name.as_str().to_owned(),
            disabled: false,
            reconnect_window: self.reconnect_window,
            publish_conflict_policy: self.publish_conflict_policy,
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
        Self {
            reads: ProjectReads::new(database.clone()),
            database,
        }
    }

    /// Creates a project, unless the same request did before.
    pub async fn create(
        &self,
        tenant: Tenant,
        project: &NewProject,
        act: &Act,
        now: Time,
    ) -> Result<Created<Project>> {
        if let Some(before) = self.created_before(tenant, project, now).await? {
            return Ok(Created::Before(before));
        }
        match self.insert(tenant, project, act, now).await {
            // The same request may have been faster.
            Err(Error::ConcurrentChange) => {
                let before = self.created_before(tenant, project, now).await?;
                before.map(Created::Before).ok_or(Error::ConcurrentChange)
            }
            created => created.map(Created::New),
        }
    }

    async fn created_before(
        &self,
        tenant: Tenant,
        project: &NewProject,
        now: Time,
    ) -> Result<Option<Project>> {
        let Some(key) = &project.idempotency else {
            return Ok(None);
        };
        match key.find(&self.database, now).await? {
            Some(id) => self.get(tenant, id.into()).await.map(Some),
            None => Ok(None),
        }
    }

    async fn insert(
        &self,
        tenant: Tenant,
        project: &NewProject,
        act: &Act,
        now: Time,
    ) -> Result<Project> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                on_engine!(&mut tx, tx => sqlx::query(
                    "insert into projects
                         (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
                          stream_key_hash, stream_key_sealed, stream_key_hint, revision,
                          create_time, update_time)
                     values ($1, $2, $3, false, $4, $5, $6, $7, $8, 1, $9, $9)",
                )
                .bind(project.id)
                .bind(tenant.user)
                .bind(project.name.as_str())
                .bind(project.reconnect_window.as_millis())
                .bind(project.publish_conflict_policy.as_str())
                .bind(&project.stream_key.hash)
                .bind(&project.stream_key.sealed)
                .bind(&project.stream_key.hint)
                .bind(now)
                .execute(&mut **tx)
                .await
                .map(drop))?;
                if let Some(key) = &project.idempotency {
                    key.record(&mut tx, project.id.uuid(), now).await?;
                }
                audit_log::record(&mut tx, act, now).await?;
                let created = project.created(now);
                record(&mut tx, &created, now).await?;
                tx.commit().await?;
                Ok(created)
            })
            .await
    }

    /// A project.
    pub async fn get(&self, tenant: Tenant, id: ProjectId) -> Result<Project> {
        self.reads.get(tenant, id).await
    }

    /// The tenant's projects, newest first.
    pub async fn list(&self, tenant: Tenant, page: Page) -> Result<Vec<Project>> {
        self.reads.list(tenant, page).await
    }

    /// Changes a project; disabling it ends its stream.
    pub async fn update(
        &self,
        tenant: Tenant,
        id: ProjectId,
        update: &ProjectUpdate,
        act: &Act,
        now: Time,
    ) -> Result<Project> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let found = on_engine!(&mut tx, tx => sqlx::query(
                    "update projects as p
                     set name = coalesce($4, name),
                         disabled = coalesce($5, disabled),
                         reconnect_window_ms = coalesce($6, reconnect_window_ms),
                         publish_conflict_policy = coalesce($7, publish_conflict_policy),
                         revision = revision + 1,
                         update_time = $8
                     where p.id = $1 and p.owner_id = $2 and p.delete_time is null
                       and ($3 is null or exists (
                           select 1 from api_key_projects k
                           where k.api_key_id = $3 and k.project_id = p.id))",
                )
                .bind(id)
                .bind(tenant.user)
                .bind(tenant.restricted_to)
                .bind(update.name.as_ref().map(Name::as_str))
                .bind(update.disabled)
                .bind(update.reconnect_window.map(ReconnectWindow::as_millis))
                .bind(update.publish_conflict_policy.map(PublishConflictPolicy::as_str))
                .bind(now)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected()))?;
                if found == 0 {
                    return Err(Error::not_found("project", id));
                }

                let mut updated = load(&mut tx, id).await?;
                record(&mut tx, &updated, now).await?;
                if update.disabled == Some(true)
                    && end_running(&mut tx, id, EndReason::ProjectDisabled, now).await?
                {
                    updated = load(&mut tx, id).await?;
                }
                audit_log::record(&mut tx, act, now).await?;
                self.database.commit_change(tx, id).await?;
                Ok(updated)
            })
            .await
    }

    /// Deletes a project with its destinations and keys; ends its stream if
    /// `force`, else refuses with `ProjectLive` if it has one.
    pub async fn delete(
        &self,
        tenant: Tenant,
        id: ProjectId,
        force: bool,
        act: &Act,
        now: Time,
    ) -> Result<()> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                lock_owned(&mut tx, tenant, id).await?;
                // The end of its stream comes before its own.
                return_revision(&mut tx, id).await?;
                if end_running(&mut tx, id, EndReason::ProjectDeleted, now).await? && !force {
                    return Err(Error::ProjectLive);
                }
                let revision = take_revision(&mut tx, id).await?;
                events::record(&mut tx, id, revision, &Change::ProjectDeleted, now).await?;

                on_engine!(&mut tx, tx => {
                    sqlx::query("delete from destinations where project_id = $1")
                        .bind(id)
                        .execute(&mut **tx)
                        .await
                        .map(drop)
                })?;
                on_engine!(&mut tx, tx => sqlx::query(
                    "update projects
                     set delete_time = $2, stream_key_hash = null, stream_key_sealed = null,
                         previous_key_hash = null, previous_key_expire_time = null
                     where id = $1",
                )
                .bind(id)
                .bind(now)
                .execute(&mut **tx)
                .await
                .map(drop))?;
                audit_log::record(&mut tx, act, now).await?;
                self.database.commit_change(tx, id).await
            })
            .await
    }

    /// Forgets projects that were deleted before a moment, at most `limit`; tells how many.
    pub async fn purge(&self, before: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from projects
             where id in (select id from projects where delete_time < $1 limit $2)",
        )
        .bind(before)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
}
