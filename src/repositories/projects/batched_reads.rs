//! Batched reads of projects on PostgreSQL: by far the most frequent reads.

use sqlx::FromRow;
use sqlx_postgres::Postgres;
use uuid::Uuid;

use super::rows::select_projects;
use crate::{
    database::{Autocommit, Batcher, Pool},
    domain::{Page, Project, ProjectId, Tenant},
    error::Result,
    repositories::sql::{is_member, owned_by},
};

/// The maximum size of a page that is read in a batch.
pub(super) const MAX_BATCHED_PAGE_SIZE: usize = 50;

/// Reads projects in batches.
#[derive(Debug, Clone)]
pub(super) struct BatchedReads {
    pub gets: Batcher<(ProjectId, Tenant), Option<Project>>,
    pub lists: Batcher<(Page, Tenant), Vec<Project>>,
}

/// A row, and the position of its request in the batch, from 1 on.
#[derive(FromRow)]
struct BatchRow {
    place: i64,
    #[sqlx(flatten)]
    row: Project,
}

impl BatchedReads {
    /// Reads from PostgreSQL.
    pub fn new(pool: &Pool<Postgres>) -> Self {
        let limits = pool.batch_limits();
        let (gets, lists) = (pool.clone(), pool.clone());
        Self {
            gets: Batcher::new(limits, move |requests| {
                Box::pin(get_each(gets.clone(), requests))
            }),
            lists: Batcher::new(limits, move |requests| {
                Box::pin(list_each(lists.clone(), requests))
            }),
        }
    }
}

async fn get_each(
    pool: Pool<Postgres>,
    requests: Vec<(ProjectId, Tenant)>,
) -> Result<Vec<Option<Project>>> {
    let ids: Vec<_> = requests.iter().map(|(id, _)| id.uuid()).collect();
    let users: Vec<_> = requests
        .iter()
        .map(|(_, tenant)| tenant.user.uuid())
        .collect();
    let keys = requests.iter().map(|(_, tenant)| tenant.key);
    let keys: Vec<Option<Uuid>> = keys.map(|key| key.map(|key| key.uuid())).collect();
    let roles: Vec<_> = requests.iter().map(|(_, tenant)| tenant.roles()).collect();

    // The limit keeps the planner from reading the whole table.
    let rows: Vec<BatchRow> = sqlx::query_as(concat!(
        "select asked.place, found.*
             from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) with ordinality
                  as asked (id, user_id, key_id, roles, place)
             cross join lateral ( ",
        select_projects!(),
        " where p.id = asked.id and ",
        owned_by!("asked.user_id", "asked.key_id", "asked.roles"),
        " limit 1) as found",
    ))
    .bind(ids)
    .bind(users)
    .bind(keys)
    .bind(roles)
    .fetch_all(Autocommit(&pool))
    .await?;

    let mut answers = vec![None; requests.len()];
    for BatchRow { place, row } in rows {
        if let Some(answer) = answers.get_mut(index(place)) {
            *answer = Some(row);
        }
    }
    Ok(answers)
}

async fn list_each(
    pool: Pool<Postgres>,
    requests: Vec<(Page, Tenant)>,
) -> Result<Vec<Vec<Project>>> {
    let tenants = requests.iter().map(|(_, tenant)| tenant);
    let organizations: Vec<_> = tenants.clone().map(|one| one.organization.uuid()).collect();
    let users: Vec<_> = tenants.clone().map(|one| one.user.uuid()).collect();
    let roles: Vec<_> = tenants.map(Tenant::roles).collect();
    let below: Vec<_> = requests.iter().map(|(page, _)| page.below).collect();
    let limits: Vec<_> = requests.iter().map(|(page, _)| page.limit()).collect();

    let rows: Vec<BatchRow> = sqlx::query_as(concat!(
        "select asked.place, found.*
             from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[])
                  with ordinality
                  as asked (user_id, below, number, organization_id, roles, place)
             cross join lateral ( ",
        select_projects!(),
        " where p.owner_id = asked.organization_id and p.id < asked.below
                   and p.delete_time is null and ",
        is_member!("asked.organization_id", "asked.user_id", "asked.roles"),
        "        order by p.id desc
                 limit asked.number) as found
             order by asked.place, found.id desc",
    ))
    .bind(users)
    .bind(below)
    .bind(limits)
    .bind(organizations)
    .bind(roles)
    .fetch_all(Autocommit(&pool))
    .await?;

    let mut answers = vec![Vec::new(); requests.len()];
    for BatchRow { place, row } in rows {
        if let Some(answer) = answers.get_mut(index(place)) {
            answer.push(row);
        }
    }
    Ok(answers)
}

/// The index of a request from its position, which PostgreSQL counts from 1.
fn index(position: i64) -> usize {
    usize::try_from(position - 1).unwrap_or(usize::MAX)
}
