use sqlx::FromRow;

use crate::{
    database::{Database, Timestamp, known},
    domain::{
        Page, PeerAddress, ProjectId, Publisher, RefusalReason, RefusedPublish, RefusedPublishId,
        Tenant, Time,
    },
    error::{Error, Result},
};

/// How many refusals a project keeps: the newest.
const KEPT: i64 = 100;

/// Publishers that were refused, for the owners of the projects.
#[derive(Debug, Clone)]
pub struct Refusals {
    database: Database,
}

#[derive(FromRow)]
struct RefusalRow {
    id: RefusedPublishId,
    create_time: Timestamp,
    reason: String,
    node_id: String,
    peer_prefix: String,
}

impl Refusals {
    /// Refusals in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Keeps a refusal, and forgets those that are too many.
    pub(crate) async fn add(
        &self,
        project_id: ProjectId,
        reason: RefusalReason,
        publisher: &Publisher,
        now: Time,
    ) -> Result<()> {
        let peer = publisher.peer_address.parse::<PeerAddress>();
        let prefix = peer.map(PeerAddress::prefix).unwrap_or_default();
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                on_engine!(&mut tx, tx => sqlx::query(
                    "insert into refusals (id, project_id, create_time, reason, node_id, peer_prefix)
                     values ($1, $2, $3, $4, $5, $6)",
                )
                .bind(RefusedPublishId::generate())
                .bind(project_id)
                .bind(now)
                .bind(reason.as_str())
                .bind(&publisher.node_id)
                .bind(&prefix)
                .execute(&mut **tx)
                .await
                .map(drop))?;
                on_engine!(&mut tx, tx => sqlx::query(
                    "delete from refusals
                     where project_id = $1
                       and id <= (
                           select id
                           from refusals
                           where project_id = $1
                           order by id desc
                           limit 1 offset $2)",
                )
                .bind(project_id)
                .bind(KEPT)
                .execute(&mut **tx)
                .await
                .map(drop))?;
                tx.commit().await
            })
            .await
    }

    /// A project's refusals, newest first.
    pub async fn list(
        &self,
        tenant: Tenant,
        project_id: ProjectId,
        page: Page,
    ) -> Result<Vec<RefusedPublish>> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, RefusalRow>(
            "select r.id, r.create_time, r.reason, r.node_id, r.peer_prefix
             from refusals r
             join projects p on p.id = r.project_id
             where r.project_id = $1 and r.id < $2
               and p.owner_id = $3 and p.delete_time is null
               and ($4 is null or exists (
                   select 1 from api_key_projects k
                   where k.api_key_id = $4 and k.project_id = p.id))
             order by r.id desc
             limit $5",
        )
        .bind(project_id)
        .bind(page.below)
        .bind(tenant.user)
        .bind(tenant.restricted_to)
        .bind(page.limit())
        .fetch_all(pool)
        .await)?
        .into_iter()
        .map(RefusedPublish::try_from)
        .collect()
    }

    /// Forgets refusals of before a moment, at most `limit`; tells how many.
    pub async fn purge(&self, before: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from refusals
             where id in (select id from refusals where create_time < $1 limit $2)",
        )
        .bind(before)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
}

impl TryFrom<RefusalRow> for RefusedPublish {
    type Error = Error;

    fn try_from(row: RefusalRow) -> Result<Self> {
        let RefusalRow {
            id,
            create_time,
            reason,
            node_id,
            peer_prefix,
        } = row;
        Ok(Self {
            id,
            create_time,
            reason: known("reason", RefusalReason::parse(&reason))?,
            node_id,
            peer_prefix,
        })
    }
}
