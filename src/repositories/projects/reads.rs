//! Projects that are read: by far the most frequent of all reads.

use sqlx::{FromRow, PgExecutor, Postgres};
use uuid::Uuid;

use super::rows::ProjectRow;
use crate::{
    database::{Batcher, Database, Pool, Pools, Single},
    domain::{Page, Project, ProjectId, Tenant, UserId},
    error::{Error, Result},
};

/// Reads projects, on PostgreSQL several at once if several are asked for.
#[derive(Debug, Clone)]
pub(crate) struct ProjectReads {
    database: Database,
    /// On PostgreSQL only: a read of SQLite has no round trip.
    batched: Option<BatchedReads>,
}

#[derive(Debug, Clone)]
struct BatchedReads {
    gets: Batcher<(ProjectId, Tenant), Option<Project>>,
    lists: Batcher<(Page, UserId), Vec<Project>>,
}

/// The longest page that is read with those of others.
const LONGEST_PAGE: usize = 50;

/// A row, and which question it answers.
#[derive(FromRow)]
struct AnswerRow {
    place: i64,
    #[sqlx(flatten)]
    row: ProjectRow,
}

impl ProjectReads {
    /// Projects in this database.
    pub(crate) fn new(database: Database) -> Self {
        let batched = match &database.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres(pool) => Some(BatchedReads::new(pool)),
        };
        Self { database, batched }
    }

    /// A project.
    pub(crate) async fn get(&self, tenant: Tenant, id: ProjectId) -> Result<Project> {
        let found = match &self.batched {
            None => self.get_one(tenant, id).await?,
            Some(batched) => {
                let alone = self.get_one(tenant, id);
                batched.gets.run(|| (id, tenant), alone).await?
            }
        };
        found.ok_or_else(|| Error::not_found("project", id))
    }

    /// The tenant's projects, newest first.
    pub(crate) async fn list(&self, tenant: Tenant, page: Page) -> Result<Vec<Project>> {
        match &self.batched {
            // Which of a tenant's projects a key may see is found one by one.
            Some(batched) if page.size <= LONGEST_PAGE && tenant.restricted_to.is_none() => {
                let alone = self.list_one(tenant, page);
                batched.lists.run(|| (page, tenant.user), alone).await
            }
            _ => self.list_one(tenant, page).await,
        }
    }

    async fn get_one(&self, tenant: Tenant, id: ProjectId) -> Result<Option<Project>> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, ProjectRow>(
            "select p.id, p.name, p.disabled, p.reconnect_window_ms, p.publish_conflict_policy,
                    p.stream_key_hint, s.id as live_stream_id, p.revision,
                    p.create_time, p.update_time
             from projects p
             left join streams s on s.project_id = p.id and s.end_time is null
             where p.id = $1 and p.owner_id = $2 and p.delete_time is null
               and ($3 is null or exists (
                   select 1 from api_key_projects k
                   where k.api_key_id = $3 and k.project_id = p.id))",
        )
        .bind(id)
        .bind(tenant.user)
        .bind(tenant.restricted_to)
        .fetch_optional(pool)
        .await)?
        .map(Project::try_from)
        .transpose()
    }

    async fn list_one(&self, tenant: Tenant, page: Page) -> Result<Vec<Project>> {
        on_engine!(self.database.reader(), pool => sqlx::query_as::<_, ProjectRow>(
            "select p.id, p.name, p.disabled, p.reconnect_window_ms, p.publish_conflict_policy,
                    p.stream_key_hint, s.id as live_stream_id, p.revision,
                    p.create_time, p.update_time
             from projects p
             left join streams s on s.project_id = p.id and s.end_time is null
             where p.owner_id = $1 and p.id < $2 and p.delete_time is null
               and ($3 is null or exists (
                   select 1 from api_key_projects k
                   where k.api_key_id = $3 and k.project_id = p.id))
             order by p.id desc
             limit $4",
        )
        .bind(tenant.user)
        .bind(page.below)
        .bind(tenant.restricted_to)
        .bind(page.limit())
        .fetch_all(pool)
        .await)?
        .into_iter()
        .map(Project::try_from)
        .collect()
    }
}

impl BatchedReads {
    fn new(pool: &Pool<Postgres>) -> Self {
        let max_in_flight = pool.size();
        let (gets, lists) = (pool.clone(), pool.clone());
        Self {
            gets: Batcher::new(max_in_flight, move |requests| {
                let pool = gets.clone();
                Box::pin(async move { get_each(Single(&pool), &requests).await })
            }),
            lists: Batcher::new(max_in_flight, move |requests| {
                let pool = lists.clone();
                Box::pin(async move { list_each(Single(&pool), &requests).await })
            }),
        }
    }
}

/// Projects of whoever asks, each where they asked for it.
async fn get_each(
    executor: impl PgExecutor<'_>,
    questions: &[(ProjectId, Tenant)],
) -> Result<Vec<Option<Project>>> {
    let ids: Vec<_> = questions.iter().map(|(id, _)| id.uuid()).collect();
    let users: Vec<_> = questions.iter().map(|(_, who)| who.user.uuid()).collect();
    let keys = questions.iter().map(|(_, who)| who.restricted_to);
    let keys: Vec<Option<Uuid>> = keys.map(|key| key.map(|key| key.uuid())).collect();

    // The limit keeps the planner from reading the whole table for some of its rows.
    let rows: Vec<AnswerRow> = sqlx::query_as(
        "select asked.place, found.*
         from unnest($1::uuid[], $2::uuid[], $3::uuid[]) with ordinality
              as asked (id, user_id, key_id, place)
         cross join lateral (
             select p.id, p.name, p.disabled, p.reconnect_window_ms, p.publish_conflict_policy,
                    p.stream_key_hint, s.id as live_stream_id, p.revision,
                    p.create_time, p.update_time
             from projects p
             left join streams s on s.project_id = p.id and s.end_time is null
             where p.id = asked.id and p.owner_id = asked.user_id and p.delete_time is null
               and (asked.key_id is null or exists (
                   select 1 from api_key_projects k
                   where k.api_key_id = asked.key_id and k.project_id = p.id))
             limit 1) as found",
    )
    .bind(ids)
    .bind(users)
    .bind(keys)
    .fetch_all(executor)
    .await?;

    let mut answers = vec![None; questions.len()];
    for AnswerRow { place, row } in rows {
        if let Some(answer) = answers.get_mut(index(place)) {
            *answer = Some(row.try_into()?);
        }
    }
    Ok(answers)
}

async fn list_each(
    executor: impl PgExecutor<'_>,
    questions: &[(Page, UserId)],
) -> Result<Vec<Vec<Project>>> {
    let users: Vec<_> = questions.iter().map(|(_, user)| user.uuid()).collect();
    let below: Vec<_> = questions.iter().map(|(page, _)| page.below).collect();
    let limits: Vec<_> = questions.iter().map(|(page, _)| page.limit()).collect();

    let rows: Vec<AnswerRow> = sqlx::query_as(
        "select asked.place, found.*
         from unnest($1::uuid[], $2::uuid[], $3::bigint[]) with ordinality
              as asked (user_id, below, number, place)
         cross join lateral (
             select p.id, p.name, p.disabled, p.reconnect_window_ms, p.publish_conflict_policy,
                    p.stream_key_hint, s.id as live_stream_id, p.revision,
                    p.create_time, p.update_time
             from projects p
             left join streams s on s.project_id = p.id and s.end_time is null
             where p.owner_id = asked.user_id and p.id < asked.below and p.delete_time is null
             order by p.id desc
             limit asked.number) as found
         order by asked.place, found.id desc",
    )
    .bind(users)
    .bind(below)
    .bind(limits)
    .fetch_all(executor)
    .await?;

    let mut answers = vec![Vec::new(); questions.len()];
    for AnswerRow { place, row } in rows {
        if let Some(answer) = answers.get_mut(index(place)) {
            answer.push(row.try_into()?);
        }
    }
    Ok(answers)
}

/// Where the question stands that PostgreSQL counts from 1.
fn index(place: i64) -> usize {
    usize::try_from(place - 1).unwrap_or(usize::MAX)
}
