use std::collections::HashMap;

use sqlx::FromRow;
use uuid::Uuid;

use super::{revocations, session_proofs};
use crate::{
    database::{Database, Timestamp, Transaction},
    domain::{Act, ApiKey, ApiKeyId, NewApiKey, Page, ProjectId, Scopes, Time, UserId},
    error::{Error, Result},
    repositories::audit_log,
};

/// API keys, of users and of operators.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    database: Database,
}

#[derive(FromRow)]
struct ApiKeyRow {
    id: ApiKeyId,
    user_id: Option<UserId>,
    display_name: String,
    scopes: String,
    restricted: bool,
    create_time: Timestamp,
    expire_time: Option<Timestamp>,
    last_used_time: Option<Timestamp>,
}

impl ApiKeys {
    /// API keys in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Creates a key: of a user, or of the operator if there is no user.
    ///
    /// `NotFound` if one of the projects is not that user's; `AccessTokenInvalid`
    /// if the session that does it has ended, which a replica may not know yet.
    pub async fn create(
        &self,
        id: ApiKeyId,
        user_id: Option<UserId>,
        key: &NewApiKey,
        secret_hash: &[u8],
        act: &Act,
        now: Time,
    ) -> Result<ApiKey> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                if let (Some(user_id), Some(session_id)) = (user_id, act.session_id)
                    && !session_proofs::goes_on(&mut tx, user_id, session_id, now).await?
                {
                    return Err(Error::AccessTokenInvalid);
                }
                let row = on_engine!(&mut tx, tx => sqlx::query_as::<_, ApiKeyRow>(
                    "insert into api_keys
                         (id, user_id, display_name, scopes, restricted, secret_hash,
                          create_time, expire_time)
                     values ($1, $2, $3, $4, $5, $6, $7, $8)
                     returning id, user_id, display_name, scopes, restricted,
                               create_time, expire_time, last_used_time",
                )
                .bind(id)
                .bind(user_id)
                .bind(key.display_name.as_str())
                .bind(key.scopes.to_string())
                .bind(!key.project_ids.is_empty())
                .bind(secret_hash)
                .bind(now)
                .bind(key.expire_time)
                .fetch_one(&mut **tx)
                .await)?;

                for project_id in &key.project_ids {
                    let added = on_engine!(&mut tx, tx => sqlx::query(
                        "insert into api_key_projects (api_key_id, project_id)
                         select $1, id
                         from projects
                         where id = $2 and owner_id = $3 and delete_time is null
                         on conflict do nothing",
                    )
                    .bind(id)
                    .bind(*project_id)
                    .bind(user_id)
                    .execute(&mut **tx)
                    .await
                    .map(|done| done.rows_affected()))?;
                    if added == 0 {
                        return Err(Error::NotFound {
                            noun: "project",
                            id: project_id.to_string(),
                        });
                    }
                }
                audit_log::record(&mut tx, act, now).await?;
                tx.commit().await?;
                Ok(row.with_projects(key.project_ids.clone()))
            })
            .await
    }

    /// A user's keys, newest first.
    pub async fn list(&self, user_id: UserId, page: Page) -> Result<Vec<ApiKey>> {
        let rows = on_engine!(self.database.reader(), pool => sqlx::query_as::<_, ApiKeyRow>(
            "select id, user_id, display_name, scopes, restricted,
                    create_time, expire_time, last_used_time
             from api_keys
             where user_id = $1 and id < $2
             order by id desc
             limit $3",
        )
        .bind(user_id)
        .bind(page.below)
        .bind(page.limit())
        .fetch_all(pool)
        .await)?;

        let links = on_engine!(self.database.reader(), pool => {
            sqlx::query_as::<_, (ApiKeyId, ProjectId)>(
                "select api_key_id, project_id
                 from api_key_projects
                 where api_key_id in (
                     select id
                     from api_keys
                     where user_id = $1 and id < $2
                     order by id desc
                     limit $3)
                 order by project_id",
            )
            .bind(user_id)
            .bind(page.below)
            .bind(page.limit())
            .fetch_all(pool)
            .await
        })?;
        let mut projects: HashMap<ApiKeyId, Vec<ProjectId>> = HashMap::new();
        for (api_key_id, project_id) in links {
            projects.entry(api_key_id).or_default().push(project_id);
        }

        Ok(rows
            .into_iter()
            .map(|row| {
                let project_ids = projects.remove(&row.id).unwrap_or_default();
                row.with_projects(project_ids)
            })
            .collect())
    }

    /// Deletes one of a user's keys.
    pub async fn revoke(&self, user_id: UserId, id: ApiKeyId, act: &Act, now: Time) -> Result<()> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let revoked = on_engine!(&mut tx, tx => sqlx::query(
                    "delete from api_keys
                     where user_id = $1 and id = $2",
                )
                .bind(user_id)
                .bind(id)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected()))?;
                if revoked == 0 {
                    return Err(Error::NotFound {
                        noun: "api_key",
                        id: id.to_string(),
                    });
                }
                revocations::revoke(&mut tx, id.uuid(), now).await?;
                audit_log::record(&mut tx, act, now).await?;
                tx.commit().await
            })
            .await
    }

    /// The key with this secret, now used; `None` if it is unknown or has expired.
    ///
    /// The projects of a restricted key are not listed.
    pub async fn exchange(&self, secret_hash: &[u8], now: Time) -> Result<Option<ApiKey>> {
        let row = on_engine!(self.database.writer(), pool => sqlx::query_as::<_, ApiKeyRow>(
            "update api_keys
             set last_used_time = $2
             where secret_hash = $1 and (expire_time is null or expire_time > $2)
             returning id, user_id, display_name, scopes, restricted,
                       create_time, expire_time, last_used_time",
        )
        .bind(secret_hash)
        .bind(now)
        .fetch_optional(pool)
        .await)?;
        Ok(row.map(|row| row.with_projects(Vec::new())))
    }
}

/// Deletes all keys of a user; tells which.
pub(crate) async fn end_all(tx: &mut Transaction, user_id: UserId, now: Time) -> Result<Vec<Uuid>> {
    let ended = on_engine!(&mut *tx, tx => sqlx::query_scalar::<_, Uuid>(
        "delete from api_keys where user_id = $1 returning id",
    )
    .bind(user_id)
    .fetch_all(&mut **tx)
    .await)?;
    for id in &ended {
        revocations::revoke(tx, *id, now).await?;
    }
    Ok(ended)
}

impl ApiKeyRow {
    fn with_projects(self, project_ids: Vec<ProjectId>) -> ApiKey {
        let Self {
            id,
            user_id,
            display_name,
            scopes,
            restricted,
            create_time,
            expire_time,
            last_used_time,
        } = self;
        ApiKey {
            id,
            user_id,
            display_name,
            scopes: Scopes::from_claim(&scopes),
            restricted,
            project_ids,
            create_time,
            expire_time,
            last_used_time,
        }
    }
}
