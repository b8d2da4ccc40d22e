//! The changes of projects, in the order of their revisions.
//!
//! Each revision has an event until it is pruned, and no event is older than the one before.
//! Replicas prune in batches, which can leave gaps for a while: readers have to check that no
//! revision is missing.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    database::{Batch, Check, Database, DeletedBatch, Engine, QueueStatements},
    domain::{Change, Event, ProjectId, Tenant, Time},
    error::{Error, Result},
    repositories::sql::{fetch_all_in, owned_by},
};

/// The events of projects.
#[derive(Debug, Clone)]
pub struct Events {
    pub(crate) database: Database,
}

/// Whether a watch can resume after a revision of a project.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct ResumePoint {
    /// The project.
    pub project_id: ProjectId,
    /// Its current revision.
    pub revision: i64,
    /// Whether the next event is stored.
    pub has_next: bool,
}

impl ResumePoint {
    /// Whether all events after revision `after` are stored, as far as is known before they are
    /// read. Not if `after` is in the future.
    pub fn allows(&self, after: i64) -> bool {
        after == self.revision || self.has_next
    }
}

/// The events of a project after one revision, up to and including another.
#[derive(Debug, Clone, Copy)]
pub struct EventRange {
    /// The project.
    pub project_id: ProjectId,
    /// The revision before the first event.
    pub after: i64,
    /// The revision of the last event.
    pub until: i64,
}

/// Selects [`ResumePoint`]s of projects `p`, whose next revisions are `asked.next`.
macro_rules! resume_points {
    () => {
        "select p.id as project_id, p.revision, exists (
             select 1 from events e
             where e.project_id = p.id and e.revision = asked.next) as has_next"
    };
}

/// Selects the next events of projects after the revisions `asked.low`, at most `$limit` of each.
macro_rules! next_events {
    ($asked:literal, $limit:literal) => {
        concat!(
            "select asked.number, e.project_id, e.revision, e.create_time, e.change
             from ",
            $asked,
            " join events e
               on e.project_id = asked.project_id and e.revision > asked.low
              and e.revision <= (
                  select max(few.revision)
                  from (
                      select revision
                      from events
                      where project_id = asked.project_id and revision > asked.low
                      order by revision
                      limit ",
            $limit,
            ") few)
             order by asked.number, e.revision"
        )
    };
}

/// A row of the table `events`.
#[derive(FromRow)]
struct EventRow {
    project_id: ProjectId,
    revision: i64,
    create_time: Time,
    change: String,
}

/// A row of the next events.
#[derive(FromRow)]
struct NextEventRow {
    /// Which of the pairs it belongs to, from 1.
    number: i64,
    #[sqlx(flatten)]
    row: EventRow,
}

impl Events {
    /// Events in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The revisions of the tenant's projects among these, each with a revision to resume after.
    /// Without those that the tenant cannot see.
    pub async fn resume_points(
        &self,
        tenant: Tenant,
        resumed: &[(ProjectId, i64)],
    ) -> Result<Vec<ResumePoint>> {
        Ok(match self.database.reader() {
            Engine::Postgres(pool) => {
                let (ids, next): (Vec<Uuid>, Vec<i64>) = resumed
                    .iter()
                    .map(|(id, after)| (id.uuid(), after.saturating_add(1)))
                    .unzip();
                sqlx::query_as(concat!(
                    resume_points!(),
                    " from unnest($1::uuid[], $2::bigint[]) as asked (project_id, next)
                     join projects p on p.id = asked.project_id and ",
                    owned_by!("$3", "$4", "$5"),
                ))
                .bind(ids)
                .bind(next)
                .bind(tenant.user)
                .bind(tenant.key)
                .bind(tenant.roles())
                .fetch_all(pool)
                .await?
            }
            Engine::Sqlite(pool) => {
                let resumed: Vec<_> = resumed
                    .iter()
                    .map(|(id, after)| (id.uuid().simple(), after.saturating_add(1)))
                    .collect();
                // A cross join is not reordered: not all projects of the owner are read.
                sqlx::query_as(concat!(
                    resume_points!(),
                    " from (
                         select unhex(value ->> 0) as project_id, value ->> 1 as next
                         from json_each($1)) asked
                     cross join projects p on p.id = asked.project_id and ",
                    owned_by!("$2", "$3", "$4"),
                ))
                .bind(serde_json::to_string(&resumed).map_err(Error::internal)?)
                .bind(tenant.user)
                .bind(tenant.key)
                .bind(tenant.roles())
                .fetch_all(pool)
                .await?
            }
        })
    }

    /// The current revisions of these projects, if they exist.
    pub async fn heads(&self, ids: &[ProjectId]) -> Result<Vec<(ProjectId, i64)>> {
        fetch_all_in!(
            self.database.reader(),
            ["select id, revision from projects where id"],
            ids,
            [],
            []
        )
    }

    /// The events of many projects in order, each project's within a range. An event that
    /// cannot be read is skipped and logged.
    pub async fn within(&self, ranges: &[EventRange]) -> Result<Vec<(ProjectId, Event)>> {
        let rows: Vec<EventRow> = match self.database.reader() {
            Engine::Postgres(pool) => {
                let ids: Vec<Uuid> = ranges.iter().map(|range| range.project_id.uuid()).collect();
                let after: Vec<i64> = ranges.iter().map(|range| range.after).collect();
                let until: Vec<i64> = ranges.iter().map(|range| range.until).collect();
                sqlx::query_as(
                    "select e.project_id, e.revision, e.create_time, e.change
                     from unnest($1::uuid[], $2::bigint[], $3::bigint[])
                          as asked (project_id, low, high)
                     join events e
                       on e.project_id = asked.project_id
                      and e.revision > asked.low and e.revision <= asked.high
                     order by e.project_id, e.revision",
                )
                .bind(ids)
                .bind(after)
                .bind(until)
                .fetch_all(pool)
                .await?
            }
            Engine::Sqlite(pool) => {
                let ranges: Vec<_> = ranges
                    .iter()
                    .map(|range| (range.project_id.uuid().simple(), range.after, range.until))
                    .collect();
                sqlx::query_as(
                    "select e.project_id, e.revision, e.create_time, e.change
                     from json_each($1) asked
                     join events e
                       on e.project_id = unhex(asked.value ->> 0)
                      and e.revision > asked.value ->> 1 and e.revision <= asked.value ->> 2
                     order by e.project_id, e.revision",
                )
                .bind(serde_json::to_string(&ranges).map_err(Error::internal)?)
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

    /// The next events of a project after a revision in order, at most `limit`, for each of these
    /// pairs. An event that cannot be read is `None` beside its revision, and logged.
    pub async fn next(
        &self,
        after: &[(ProjectId, i64)],
        limit: i64,
    ) -> Result<Vec<Vec<(i64, Option<Event>)>>> {
        let count = after.len();
        let rows: Vec<NextEventRow> = match self.database.reader() {
            Engine::Postgres(pool) => {
                let (ids, after): (Vec<Uuid>, Vec<i64>) =
                    after.iter().map(|(id, after)| (id.uuid(), *after)).unzip();
                sqlx::query_as(next_events!(
                    "unnest($1::uuid[], $2::bigint[]) with ordinality as asked (project_id, low, number)",
                    "$3"
                ))
                .bind(ids)
                .bind(after)
                .bind(limit)
                .fetch_all(pool)
                .await?
            }
            Engine::Sqlite(pool) => {
                let after = after.iter().map(|(id, after)| (id.uuid().simple(), *after));
                let after: Vec<_> = after.collect();
                sqlx::query_as(next_events!(
                    "(select unhex(value ->> 0) as project_id, value ->> 1 as low, key + 1 as number
                      from json_each($1)) asked",
                    "$2"
                ))
                .bind(serde_json::to_string(&after).map_err(Error::internal)?)
                .bind(limit)
                .fetch_all(pool)
                .await?
            }
        };
        let mut next = vec![Vec::new(); count];
        for NextEventRow { number, row } in rows {
            let (id, revision) = (row.project_id, row.revision);
            let event = row.decode().inspect_err(|error| {
                let error = error.with_causes();
                tracing::error!(project_id = %id, revision, error, "cannot read an event");
            });
            let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
            if let Some(events) = next.get_mut(index) {
                events.push((revision, event.ok()));
            }
        }
        Ok(next)
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
    tx: &mut impl QueueStatements,
    project_id: ProjectId,
    revision: i64,
    change: &Change,
    now: Time,
) -> Result<()> {
    let change = serde_json::to_string(change).map_err(Error::internal)?;
    queue!(
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
        [project_id, revision, now, change],
        Check::default()
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
