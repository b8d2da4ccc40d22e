//! The quotas of organizations.
//!
//! What creates something checks the quota in its own transaction, with the row of the quota
//! locked: so calls at several replicas together never exceed it. Organizations without a quota have
//! no row, and nothing to lock.

use super::audit_log;
use crate::{
    database::{Check, Database, Engine, QueueStatements, Transaction},
    domain::{AuditContext, OrganizationId, Quota, QuotaExcess, QuotaKind, Time, UsageFilter},
    error::{Error, Result},
};

/// The quotas of organizations.
#[derive(Debug, Clone)]
pub struct Quotas {
    database: Database,
}

/// The quota of the organization `$1`.
const SELECT_QUOTA: &str =
    "select projects, destinations, live_streams, stream_minutes, delivered_bytes, members
     from quotas
     where organization_id = $1";

/// The same, locked until the transaction ends.
const LOCK_QUOTA: &str =
    "select projects, destinations, live_streams, stream_minutes, delivered_bytes, members
     from quotas
     where organization_id = $1
     for no key update";

/// What the organization `$1` uses, since `$2` as far as it is for a month.
const SELECT_USED: &str = "select
         (select count(*) from projects p
          where p.owner_id = $1 and p.delete_time is null) as projects,
         (select count(*) from projects p join destinations d on d.project_id = p.id
          where p.owner_id = $1 and p.delete_time is null and d.delete_time is null) as destinations,
         (select count(*) from projects p join streams s on s.project_id = p.id
          where p.owner_id = $1 and s.end_time is null) as live_streams,
         (select cast(coalesce(sum(u.stream_us), 0) as bigint) / 60000000 from usage_records u
          where u.owner_id = $1 and u.hour_time >= $2) as stream_minutes,
         (select cast(coalesce(sum(u.bytes_delivered), 0) as bigint) from usage_records u
          where u.owner_id = $1 and u.hour_time >= $2) as delivered_bytes,
         (select count(*) from memberships m where m.organization_id = $1) as members";

impl Quotas {
    /// Quotas in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The quota of an organization that is not deleted, and what is used of it.
    pub async fn get(&self, id: OrganizationId, now: Time) -> Result<(Quota, Quota)> {
        let exists = exists!(
            self.database.reader(),
            "select 1 from organizations where id = $1 and delete_time is null",
            [id]
        )?;
        match exists {
            true => self.of(id, now).await,
            false => Err(Error::not_found("organization", id)),
        }
    }

    async fn of(&self, id: OrganizationId, now: Time) -> Result<(Quota, Quota)> {
        let quota: Option<Quota> = fetch_optional!(self.database.reader(), SELECT_QUOTA, [id])?;
        let month = UsageFilter::month_of(now);
        let used = fetch_one!(self.database.reader(), SELECT_USED, [id, month])?;
        Ok((quota.unwrap_or_default(), used))
    }

    /// Replaces the quota of an organization. What it has beyond that stays.
    pub async fn set(
        &self,
        id: OrganizationId,
        quota: Quota,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                let exists = exists!(
                    tx,
                    "select 1 from organizations where id = $1 and delete_time is null",
                    [id]
                )?;
                if !exists {
                    return Err(Error::not_found("organization", id));
                }
                execute!(
                    tx,
                    "insert into quotas
                         (organization_id, projects, destinations, live_streams, stream_minutes,
                          delivered_bytes, members, update_time)
                     values ($1, $2, $3, $4, $5, $6, $7, $8)
                     on conflict (organization_id) do update
                     set projects = excluded.projects, destinations = excluded.destinations,
                         live_streams = excluded.live_streams,
                         stream_minutes = excluded.stream_minutes,
                         delivered_bytes = excluded.delivered_bytes,
                         members = excluded.members,
                         update_time = excluded.update_time",
                    [
                        id,
                        quota.projects,
                        quota.destinations,
                        quota.live_streams,
                        quota.stream_minutes,
                        quota.delivered_bytes,
                        quota.members,
                        now
                    ]
                )?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(()).await
            })
            .await
    }
}

/// Queues the lock of the quota of an organization, before the statement that checks it. SQLite has
/// one writer, and needs none.
pub(super) async fn queue_lock(tx: &mut impl QueueStatements, id: OrganizationId) -> Result<()> {
    match matches!(tx.queue(), Engine::Postgres(_)) {
        true => queue!(tx, LOCK_QUOTA, [id], Check::default()),
        false => Ok(()),
    }
}

/// The condition that the organization `$organization` may have one more project.
macro_rules! may_have_project {
    ($organization:literal) => {
        concat!(
            "not exists (
                 select 1 from quotas q
                 where q.organization_id = ",
            $organization,
            " and q.projects <= (
                     select count(*) from projects o
                     where o.owner_id = ",
            $organization,
            " and o.delete_time is null))"
        )
    };
}
pub(super) use may_have_project;

/// The error of a statement that has created no project: the quota, if that is reached.
pub(super) async fn project_error(
    database: &Database,
    id: OrganizationId,
    error: Error,
    now: Time,
) -> Error {
    match Quotas::new(database.clone()).of(id, now).await {
        Ok((quota, used)) => match quota.reached(&used, &[QuotaKind::Projects]) {
            Some(excess) => Error::QuotaExceeded(excess),
            None => error,
        },
        Err(error) => error,
    }
}

/// The limit of an organization that does not permit one more of these kinds, if there is one.
pub(super) async fn reached(
    tx: &mut Transaction,
    id: OrganizationId,
    kinds: &[QuotaKind],
    now: Time,
) -> Result<Option<QuotaExcess>> {
    let numbers = lock_with_used(tx, id, now).await?;
    Ok(numbers.and_then(|(quota, used)| quota.reached(&used, kinds)))
}

/// The limit of an organization that what it has exceeds, if there is one.
pub(super) async fn exceeded(
    tx: &mut Transaction,
    id: OrganizationId,
    kinds: &[QuotaKind],
    now: Time,
) -> Result<Option<QuotaExcess>> {
    let numbers = lock_with_used(tx, id, now).await?;
    Ok(numbers.and_then(|(quota, used)| quota.exceeded(&used, kinds)))
}

/// The locked quota of an organization, and what is used of it; `None` without a quota.
async fn lock_with_used(
    tx: &mut Transaction,
    id: OrganizationId,
    now: Time,
) -> Result<Option<(Quota, Quota)>> {
    let sql = match tx {
        Transaction::Postgres(_) => LOCK_QUOTA,
        Transaction::Sqlite(_) => SELECT_QUOTA,
    };
    let quota: Option<Quota> = fetch_optional!(tx, sql, [id])?;
    let Some(quota) = quota else {
        return Ok(None);
    };
    let used = fetch_one!(tx, SELECT_USED, [id, UsageFilter::month_of(now)])?;
    Ok(Some((quota, used)))
}

impl_from_row!(
    Quota:
    projects, destinations, live_streams, stream_minutes, delivered_bytes, members
);
