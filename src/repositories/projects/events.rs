//! The changes of projects, in the order of their revisions.
//!
//! Each revision has an event until it is pruned, and no event is older than the one before.
//! Replicas prune in batches, which can leave gaps for a while: readers have to check that no
//! revision is missing.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    database::{Batch, Database, DeletedBatch, Engine, Transaction},
    domain::{Change, Event, ProjectId, Tenant, Time},
    error::{Error, Result},
    repositories::sql::owned_by,
};

/// The events of projects.
#[derive(Debug, Clone)]
pub struct Events {
    pub(crate) database: Database,
}

/// A row of the table `events`.
#[derive(FromRow)]
struct EventRow {
    project_id: ProjectId,
    revision: i64,
    create_time: Time,
    change: String,
}

impl Events {
    /// Events in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The revision of a project of the tenant, if all events after revision `after` are
    /// stored. `ResyncRequired` if not, or if `after` is in the future.
    pub async fn resume(&self, tenant: Tenant, id: ProjectId, after: i64) -> Result<i64> {
        let found: Option<(i64, bool)> = fetch_optional!(
            self.database.reader(),
            concat!(
                "select p.revision, exists (
                     select 1 from events e where e.project_id = p.id and e.revision = $4)
                 from projects p
                 where p.id = $1 and ",
                owned_by!("$2", "$3"),
            ),
            [
                id,
                tenant.user,
                tenant.restricted_to,
                after.saturating_add(1)
            ]
        )?;
        match found.ok_or_else(|| Error::not_found("project", id))? {
            (revision, has_next) if after == revision || has_next => Ok(revision),
            _ => Err(Error::ResyncRequired),
        }
    }

    /// The events of a project after a revision, at most `limit`.
    pub async fn after(&self, id: ProjectId, revision: i64, limit: i64) -> Result<Vec<Event>> {
        fetch_all!(
            self.database.reader(),
            "select project_id, revision, create_time, change
             from events
             where project_id = $1 and revision > $2
             order by revision
             limit $3",
            [id, revision, limit]
        )?
        .into_iter()
        .map(EventRow::decode)
        .collect()
    }

    /// The current revisions of these projects, if they exist.
    pub async fn heads(&self, ids: &[ProjectId]) -> Result<Vec<(ProjectId, i64)>> {
        Ok(match self.database.reader() {
            Engine::Postgres(pool) => {
                let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
                sqlx::query_as("select id, revision from projects where id = any($1)")
                    .bind(ids)
                    .fetch_all(pool)
                    .await?
            }
            Engine::Sqlite(pool) => {
                let ids: Vec<_> = ids.iter().map(|id| id.uuid().simple()).collect();
                sqlx::query_as(
                    "select id, revision
                     from projects
                     where id in (select unhex(value) from json_each($1))",
                )
                .bind(serde_json::to_string(&ids).map_err(Error::internal)?)
                .fetch_all(pool)
                .await?
            }
        })
    }

    /// The events of many projects, each after its revision, in order. An event that cannot
    /// be read is skipped and logged.
    pub async fn after_each(&self, seen: &[(ProjectId, i64)]) -> Result<Vec<(ProjectId, Event)>> {
        let rows: Vec<EventRow> = match self.database.reader() {
            Engine::Postgres(pool) => {
                let (ids, revisions): (Vec<Uuid>, Vec<i64>) = seen
                    .iter()
                    .map(|(id, revision)| (id.uuid(), revision))
                    .unzip();
                sqlx::query_as(
                    "select e.project_id, e.revision, e.create_time, e.change
                     from unnest($1::uuid[], $2::bigint[]) as seen (project_id, revision)
                     join events e
                       on e.project_id = seen.project_id and e.revision > seen.revision
                     order by e.project_id, e.revision",
                )
                .bind(ids)
                .bind(revisions)
                .fetch_all(pool)
                .await?
            }
            Engine::Sqlite(pool) => {
                let seen: Vec<_> = seen
                    .iter()
                    .map(|(id, revision)| (id.uuid().simple(), revision))
                    .collect();
                sqlx::query_as(
                    "select e.project_id, e.revision, e.create_time, e.change
                     from json_each($1) seen
                     join events e
                       on e.project_id = unhex(seen.value ->> 0)
                      and e.revision > seen.value ->> 1
                     order by e.project_id, e.revision",
                )
                .bind(serde_json::to_string(&seen).map_err(Error::internal)?)
                .fetch_all(pool)
                .await?
            }
        };
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let (id, revision) = (row.project_id, row.revision);
            match row.decode() {
                Ok(event) => events.push((id, event)),
                Err(error) => {
                    let error = error.with_causes();
                    tracing::error!(project_id = %id, revision, error, "cannot read an event");
                }
            }
        }
        Ok(events)
    }

    /// Deletes a batch of events from before a time.
    pub async fn prune(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        let sql = match self.database.writer() {
            // Replicas that prune concurrently do not wait for each other.
            Engine::Postgres(_) => {
                "delete from events
                 where (project_id, revision) in (
                     select project_id, revision
                     from events
                     where create_time < $1
                     order by create_time
                     limit $2 offset $3
                     for update skip locked)"
            }
            Engine::Sqlite(_) => {
                "delete from events
                 where rowid in (
                     select rowid
                     from events
                     where create_time < $1
                     order by create_time
                     limit $2 offset $3)"
            }
        };
        self.database.delete_batch(sql, before, batch).await
    }
}

/// Writes the change of a locked project with this revision. Its time is not before that of
/// the previous event, even if `now` is from before the lock.
pub(crate) async fn record(
    tx: &mut Transaction,
    project_id: ProjectId,
    revision: i64,
    change: &Change,
    now: Time,
) -> Result<()> {
    let change = serde_json::to_string(change).map_err(Error::internal)?;
    execute!(
        tx,
        "insert into events (project_id, revision, create_time, change)
         values (
             $1, $2,
             coalesce(
                 (select case when create_time > $3 then create_time else $3 end
                  from events
                  where project_id = $1
                  order by revision desc
                  limit 1),
                 $3),
             $4)",
        [project_id, revision, now, change]
    )
}

impl EventRow {
    fn decode(self) -> Result<Event> {
        Ok(Event {
            revision: self.revision,
            create_time: self.create_time,
            change: serde_json::from_str(&self.change).map_err(Error::internal)?,
        })
    }
}
