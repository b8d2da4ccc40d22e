use sqlx::FromRow;

use crate::{
    database::{Batch, Check, Database, DeletedBatch, Engine},
    domain::{
        CreateTimeRange, Page, PeerAddress, ProjectId, Publisher, Refusal, RefusalId,
        RefusalReason, Tenant, Time,
    },
    error::Result,
    repositories::sql::{fetch_all_in, owned_by},
};

/// The number of refused publishes that are stored per project: the newest ones.
const MAX_PER_PROJECT: i64 = 100;

/// A refused publish with its project.
#[derive(FromRow)]
struct RefusalRow {
    project_id: ProjectId,
    #[sqlx(flatten)]
    refusal: Refusal,
}

/// Refused publishes, for the owners of the projects.
#[derive(Debug, Clone)]
pub struct Refusals {
    database: Database,
}

/// Inserts a refused publish: `$1` to `$6`.
macro_rules! insert_refusal {
    () => {
        "insert into refusals (id, project_id, create_time, reason, node_id, peer_prefix)
         values ($1, $2, $3, $4, $5, $6)"
    };
}

/// Deletes the refused publishes of a project, except a number of the newest ones.
macro_rules! delete_oldest {
    ($project:literal, $kept:literal) => {
        concat!(
            "delete from refusals
             where project_id = ",
            $project,
            " and id <= (
                 select id
                 from refusals
                 where project_id = ",
            $project,
            " order by id desc
                 limit 1 offset ",
            $kept,
            ")"
        )
    };
}

impl Refusals {
    /// Refused publishes in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Adds a refused publish, and deletes those above the maximum.
    pub(super) async fn add(
        &self,
        project_id: ProjectId,
        reason: RefusalReason,
        publisher: &Publisher,
        now: Time,
    ) -> Result<()> {
        let peer = publisher.peer_address.parse::<PeerAddress>();
        let prefix = peer.map(PeerAddress::prefix).unwrap_or_default();
        let id = RefusalId::generate();
        match self.database.writer() {
            Engine::Postgres(executor) => {
                // The deletion does not see the new row.
                let added = sqlx::query(concat!(
                    "with added as (",
                    insert_refusal!(),
                    ") ",
                    delete_oldest!("$2", "$7")
                ));
                let added = added
                    .bind(id)
                    .bind(project_id)
                    .bind(now)
                    .bind(reason.as_str());
                let added = added.bind(&publisher.node_id).bind(prefix);
                let added = added.bind(MAX_PER_PROJECT - 1).execute(executor);
                added.await?;
                Ok(())
            }
            Engine::Sqlite(_) => {
                self.database
                    .queued_transaction(|mut tx| {
                        let prefix = &prefix;
                        async move {
                            queue!(
                                tx,
                                insert_refusal!(),
                                [
                                    id,
                                    project_id,
                                    now,
                                    reason.as_str(),
                                    &publisher.node_id,
                                    prefix
                                ],
                                Check::default()
                            )?;
                            queue!(
                                tx,
                                delete_oldest!("$1", "$2"),
                                [project_id, MAX_PER_PROJECT],
                                Check::default()
                            )?;
                            tx.commit(()).await
                        }
                    })
                    .await
            }
        }
    }

    /// A project's refused publishes, newest first.
    pub async fn list(
        &self,
        tenant: Tenant,
        project_id: ProjectId,
        created: CreateTimeRange,
        page: Page,
    ) -> Result<Vec<Refusal>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select r.id, r.create_time, r.reason, r.node_id, r.peer_prefix
                 from refusals r
                 join projects p on p.id = r.project_id
                 where r.project_id = $1 and r.id < $2
                   and coalesce(r.create_time, $6) > $6 and coalesce(r.create_time, $7) < $7
                   and ",
                owned_by!("$3", "$4", "$8"),
                " order by r.id desc
                 limit $5",
            ),
            [
                project_id,
                page.below,
                tenant.user,
                tenant.key,
                page.limit(),
                created.after,
                created.before,
                tenant.roles()
            ]
        )
    }

    /// The refused publishes of these projects after a time, oldest first.
    pub async fn after(&self, ids: &[ProjectId], time: Time) -> Result<Vec<(ProjectId, Refusal)>> {
        let rows: Vec<RefusalRow> = fetch_all_in!(
            self.database.reader(),
            [
                "select project_id, id, create_time, reason, node_id, peer_prefix
                 from refusals
                 where create_time > $2 and project_id"
            ],
            ids,
            [" order by create_time, id"],
            [time]
        )?;
        let rows = rows.into_iter();
        Ok(rows.map(|row| (row.project_id, row.refusal)).collect())
    }

    /// Deletes a batch of refused publishes from before a time.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from refusals
             where id in (
                 select id
                 from refusals
                 where create_time < $1
                 order by create_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}

impl_from_row!(Refusal: id, create_time, reason, node_id, peer_prefix);
