use std::time::Duration;

use super::rows::{SELECT_OWNED, load, lock_owned, record, refusal_in};
use crate::{
    database::{Database, Transaction},
    domain::{AuditContext, EndReason, Project, ProjectId, SealedStreamKey, Tenant, Time},
    error::Result,
    repositories::{
        Created, IdempotencyKey, accounts::session_rows::require_active, audit_log,
        idempotency::create_once, sql::owned_by, streams::rows::end_all,
    },
};

/// The stream keys of projects.
#[derive(Debug, Clone)]
pub struct StreamKeys {
    database: Database,
}

/// A stream key that replaces another one.
#[derive(Debug)]
pub struct StreamKeyRotation {
    /// The key.
    pub key: SealedStreamKey,
    /// How long the old key continues to work.
    pub grace: Duration,
    /// The identity of the request, so that a repeated one does not rotate again.
    pub idempotency: Option<IdempotencyKey>,
}

/// The sealed stream key of a tenant's project.
const SELECT_SEALED: &str = concat!(
    "select p.stream_key_sealed
     from projects p
     where p.id = $1 and ",
    owned_by!("$2", "$3", "$4"),
);

impl StreamKeys {
    /// Stream keys in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Replaces the stream key. Without a grace period the old key stops working at once and
    /// the active stream ends. Otherwise returns the time at which the old key stops
    /// working, and a stream that was begun with it ends. A repeated request changes nothing.
    pub async fn rotate(
        &self,
        tenant: Tenant,
        id: ProjectId,
        new: &StreamKeyRotation,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Created<(Project, Option<Time>)>> {
        let rotate = self.replace(tenant, id, new, audit, now);
        let get = |_| self.load_rotated(tenant, id, now);
        create_once(&self.database, new.idempotency.as_ref(), now, rotate, get).await
    }

    async fn replace(
        &self,
        tenant: Tenant,
        id: ProjectId,
        new: &StreamKeyRotation,
        audit: &AuditContext,
        now: Time,
    ) -> Result<(Project, Option<Time>)> {
        let StreamKeyRotation {
            key,
            grace,
            idempotency,
        } = new;
        let expiry = (!grace.is_zero()).then(|| now + *grace);

        self.database
            .transaction(|mut tx| async move {
                lock_owned(&mut tx, tenant, id).await?;
                require_active(&mut tx, audit).await?;
                execute!(
                    tx,
                    "update projects
                     set previous_key_hash = case when $5 is null then null else stream_key_hash end,
                         previous_key_expire_time = $5,
                         replaced_key_hash = case when $5 is null then stream_key_hash end,
                         stream_key_hash = $2, stream_key_sealed = $3, stream_key_hint = $4,
                         update_time = $6
                     where id = $1",
                    [id, &key.hash, &key.sealed, &key.hint, expiry, now]
                )?;
                let mut rotated = load(&mut tx, id).await?;
                record(&mut tx, &rotated, now).await?;
                match expiry {
                    Some(expiry) => limit_active(&mut tx, id, expiry).await?,
                    None if end_all(&mut tx, id, EndReason::KeyRotated, now).await? => {
                        rotated = load(&mut tx, id).await?;
                    }
                    None => {}
                }
                if let Some(key) = idempotency {
                    key.record(&mut tx, id.uuid(), now).await?;
                }
                audit_log::record(&mut tx, audit, now).await?;
                self.database.commit_change(tx, id).await?;
                Ok((rotated, expiry))
            })
            .await
    }

    /// A project, and when its previous key stops working if it still works.
    async fn load_rotated(
        &self,
        tenant: Tenant,
        id: ProjectId,
        now: Time,
    ) -> Result<(Project, Option<Time>)> {
        let mut tx = self.database.begin_read_only().await?;
        let project: Option<Project> = fetch_optional!(
            tx,
            SELECT_OWNED,
            [id, tenant.user, tenant.key, tenant.roles()]
        )?;
        let Some(project) = project else {
            return Err(refusal_in(&mut tx, tenant, id).await);
        };
        let expiry: Option<Time> = fetch_scalar!(
            tx,
            "select previous_key_expire_time from projects where id = $1",
            [id]
        )?;
        Ok((project, expiry.filter(|expiry| *expiry > now)))
    }

    /// The sealed stream key, to show it to the owner.
    pub async fn reveal(
        &self,
        tenant: Tenant,
        id: ProjectId,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Vec<u8>> {
        self.database
            .transaction(|mut tx| async move {
                let sealed = load_sealed(&mut tx, tenant, id).await?;
                require_active(&mut tx, audit).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(sealed).await
            })
            .await
    }

    /// The sealed stream key, for the answer to a repeated request.
    pub async fn get(
        &self,
        tenant: Tenant,
        id: ProjectId,
        audit: &AuditContext,
    ) -> Result<Vec<u8>> {
        self.database
            .transaction(|mut tx| async move {
                let sealed = load_sealed(&mut tx, tenant, id).await?;
                require_active(&mut tx, audit).await?;
                tx.rollback(sealed).await
            })
            .await
    }
}

/// The sealed stream key of a tenant's project.
async fn load_sealed(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Result<Vec<u8>> {
    let sealed: Option<Option<Vec<u8>>> = fetch_optional_scalar!(
        tx,
        SELECT_SEALED,
        [id, tenant.user, tenant.key, tenant.roles()]
    )?;
    match sealed.flatten() {
        Some(sealed) => Ok(sealed),
        None => Err(refusal_in(tx, tenant, id).await),
    }
}

/// Lets the active stream end when the key with which it was begun stops working.
async fn limit_active(tx: &mut Transaction, id: ProjectId, expiry: Time) -> Result<()> {
    execute!(
        tx,
        "update streams
         set key_expire_time = $2
         where project_id = $1 and end_time is null
           and (key_expire_time is null or key_expire_time > $2)",
        [id, expiry]
    )
}
