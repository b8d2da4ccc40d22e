use std::time::Duration;

use super::{
    revisions::lock_owned,
    rows::{load, record},
};
use crate::{
    database::{Database, Transaction},
    domain::{Act, EndReason, Project, ProjectId, SealedStreamKey, Tenant, Time},
    error::{Error, Result},
    repositories::{audit_log, streams::rows::end_running},
};

/// The stream keys of projects.
#[derive(Debug, Clone)]
pub struct StreamKeys {
    database: Database,
}

impl StreamKeys {
    /// Stream keys in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Replaces the stream key. Without grace the old one stops working and a running
    /// stream ends; otherwise tells when the old one stops, and with it a stream that
    /// was begun with it.
    pub async fn rotate(
        &self,
        tenant: Tenant,
        id: ProjectId,
        key: &SealedStreamKey,
        grace: Duration,
        act: &Act,
        now: Time,
    ) -> Result<(Project, Option<Time>)> {
        let expiry = (!grace.is_zero()).then(|| now + grace);

        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                lock_owned(&mut tx, tenant, id).await?;
                on_engine!(&mut tx, tx => sqlx::query(
                    "update projects
                     set previous_key_hash = stream_key_hash, previous_key_expire_time = $5,
                         stream_key_hash = $2, stream_key_sealed = $3, stream_key_hint = $4,
                         update_time = $6
                     where id = $1",
                )
                .bind(id)
                .bind(&key.hash)
                .bind(&key.sealed)
                .bind(&key.hint)
                .bind(expiry.unwrap_or(now))
                .bind(now)
                .execute(&mut **tx)
                .await
                .map(drop))?;
                let mut rotated = load(&mut tx, id).await?;
                record(&mut tx, &rotated, now).await?;
                match expiry {
                    Some(expiry) => limit_running(&mut tx, id, expiry).await?,
                    None if end_running(&mut tx, id, EndReason::KeyRotated, now).await? => {
                        rotated = load(&mut tx, id).await?;
                    }
                    None => {}
                }
                audit_log::record(&mut tx, act, now).await?;
                self.database.commit_change(tx, id).await?;
                Ok((rotated, expiry))
            })
            .await
    }

    /// The stream key, sealed, for the owner to see.
    pub async fn reveal(
        &self,
        tenant: Tenant,
        id: ProjectId,
        act: &Act,
        now: Time,
    ) -> Result<Vec<u8>> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let sealed = on_engine!(&mut tx, tx => sqlx::query_scalar::<_, Option<Vec<u8>>>(
                    "select p.stream_key_sealed
                     from projects p
                     where p.id = $1 and p.owner_id = $2 and p.delete_time is null
                       and ($3 is null or exists (
                           select 1 from api_key_projects k
                           where k.api_key_id = $3 and k.project_id = p.id))",
                )
                .bind(id)
                .bind(tenant.user)
                .bind(tenant.restricted_to)
                .fetch_optional(&mut **tx)
                .await)?;
                let sealed = sealed
                    .flatten()
                    .ok_or_else(|| Error::not_found("project", id))?;
                audit_log::record(&mut tx, act, now).await?;
                tx.commit().await?;
                Ok(sealed)
            })
            .await
    }

    /// The stream key, sealed, for a create that is repeated.
    pub async fn get(&self, tenant: Tenant, id: ProjectId) -> Result<Vec<u8>> {
        let sealed = on_engine!(self.database.reader(), pool => {
            sqlx::query_scalar::<_, Option<Vec<u8>>>(
                "select p.stream_key_sealed
                 from projects p
                 where p.id = $1 and p.owner_id = $2 and p.delete_time is null
                   and ($3 is null or exists (
                       select 1 from api_key_projects k
                       where k.api_key_id = $3 and k.project_id = p.id))",
            )
            .bind(id)
            .bind(tenant.user)
            .bind(tenant.restricted_to)
            .fetch_optional(pool)
            .await
        })?;
        sealed
            .flatten()
            .ok_or_else(|| Error::not_found("project", id))
    }
}

/// Lets a running stream end when the key with which it was begun stops working.
async fn limit_running(tx: &mut Transaction, id: ProjectId, expiry: Time) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "update streams
         set key_expire_time = $2
         where project_id = $1 and end_time is null
           and (key_expire_time is null or key_expire_time > $2)",
    )
    .bind(id)
    .bind(expiry)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}
