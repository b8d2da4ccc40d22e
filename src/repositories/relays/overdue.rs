//! The timeouts of relays: expired leases, and relays that send no more bytes.

use sqlx::FromRow;

use super::{
    RelayLeases,
    progress::RelayProgress,
    rows::{is_reconnecting, load},
};
use crate::{
    database::{Engine, Transaction},
    domain::{DestinationId, ProjectId, Relay, RelayLease, StreamId, Time},
    error::{Error, Result},
    repositories::sql::for_share,
};

/// Identifies a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromRow)]
pub struct RelayKey {
    /// The stream.
    pub stream_id: StreamId,
    /// The destination.
    pub destination_id: DestinationId,
    /// The project of both.
    pub project_id: ProjectId,
}

impl RelayLeases {
    /// At most `limit` relays after `above`, in their order, that may have to change: their lease
    /// has expired, or they send no more bytes.
    pub async fn overdue(
        &self,
        now: Time,
        above: (StreamId, DestinationId),
        limit: i64,
    ) -> Result<Vec<RelayKey>> {
        let mut overdue = self.overdue_by_themselves(now, above, limit).await?;
        overdue.extend(self.of_silent_workers(now, above, limit).await?);
        overdue.sort_unstable_by_key(|key| (key.stream_id.uuid(), key.destination_id.uuid()));
        overdue.dedup();
        overdue.truncate(usize::try_from(limit).unwrap_or_default());
        Ok(overdue)
    }

    /// Those whose own row tells.
    async fn overdue_by_themselves(
        &self,
        now: Time,
        above: (StreamId, DestinationId),
        limit: i64,
    ) -> Result<Vec<RelayKey>> {
        let silent_since = now - self.times.stall;
        // Materialized, so that the indexes on the times are used and not that on the ids.
        fetch_all!(
            self.database.reader(),
            "with overdue as materialized (
                 select r.stream_id, r.destination_id, r.project_id
                 from relays r
                 where r.lease_id is not null and r.lease_expire_time <= $1
                   and not exists (
                       select 1
                       from workers w
                       where w.worker_id = r.worker_id and w.lease_expire_time > $1)
                 union
                 select r.stream_id, r.destination_id, r.project_id
                 from relays r
                 join streams s on s.id = r.stream_id
                 where r.state = 'broadcasting' and r.silent_since <= $2 and s.status = 'live'
                   and r.lease_expire_time <> $6)
             select stream_id, destination_id, project_id
             from overdue
             where (stream_id, destination_id) > ($3, $4)
             order by stream_id, destination_id
             limit $5",
            [
                now,
                silent_since,
                above.0,
                above.1,
                limit,
                RelayLease::WITH_WORKER
            ]
        )
    }

    /// Those whose leases last with a worker that does not report any more.
    async fn of_silent_workers(
        &self,
        now: Time,
        above: (StreamId, DestinationId),
        limit: i64,
    ) -> Result<Vec<RelayKey>> {
        // The end of a lease tells of the last report. Relays may stall before it.
        let until = now.max(now + self.times.lease - self.times.stall);
        let silent: Vec<String> = fetch_scalars!(
            self.database.reader(),
            "select w.worker_id
             from workers w
             where w.lease_expire_time <= $1
               and exists (select 1 from relays r where r.worker_id = w.worker_id)",
            [until]
        )?;
        if silent.is_empty() {
            return Ok(Vec::new());
        }
        macro_rules! of_workers {
            ($workers:literal) => {
                concat!(
                    "with overdue as materialized (
                         select r.stream_id, r.destination_id, r.project_id
                         from relays r
                         join workers w on w.worker_id = r.worker_id
                         join streams s on s.id = r.stream_id
                         where r.worker_id ",
                    $workers,
                    " and r.lease_expire_time = $2
                           and (w.lease_expire_time <= $3
                                or r.state = 'broadcasting' and s.status = 'live'))
                     select stream_id, destination_id, project_id
                     from overdue
                     where (stream_id, destination_id) > ($4, $5)
                     order by stream_id, destination_id
                     limit $6"
                )
            };
        }
        let found = match self.database.reader() {
            Engine::Postgres(executor) => {
                sqlx::query_as(of_workers!("= any($1::text[])"))
                    .bind(silent)
                    .bind(RelayLease::WITH_WORKER)
                    .bind(now)
                    .bind(above.0)
                    .bind(above.1)
                    .bind(limit)
                    .fetch_all(executor)
                    .await
            }
            Engine::Sqlite(executor) => {
                sqlx::query_as(of_workers!("in (select value from json_each($1))"))
                    .bind(serde_json::to_string(&silent).map_err(Error::internal)?)
                    .bind(RelayLease::WITH_WORKER)
                    .bind(now)
                    .bind(above.0)
                    .bind(above.1)
                    .bind(limit)
                    .fetch_all(executor)
                    .await
            }
        };
        Ok(found?)
    }

    /// Writes a relay as it is: fails if the database accepts no writes.
    pub async fn touch(&self, key: RelayKey) -> Result<()> {
        execute!(
            self.database.writer(),
            "update relays
             set attempt = attempt
             where stream_id = $1 and destination_id = $2",
            [key.stream_id, key.destination_id]
        )
    }

    /// Applies the timeouts to a relay. `None` if nothing changes, or if another transaction
    /// has locked its project.
    pub async fn expire(&self, key: RelayKey, now: Time) -> Result<Option<Relay>> {
        self.database
            .transaction(|mut tx| async move {
                let Some(revision) = try_lock_project(&mut tx, key.project_id).await? else {
                    return tx.rollback(None).await;
                };
                let Some(mut relay) = load(&mut tx, key.stream_id, key.destination_id).await?
                else {
                    return tx.rollback(None).await;
                };
                self.resolve_lease(&mut tx, &mut relay).await?;
                let is_reconnecting = is_reconnecting(&mut tx, key.stream_id).await?;
                if !relay.expire(is_reconnecting, self.times, now) {
                    return tx.rollback(None).await;
                }
                self.finish(tx, revision, &relay, now).await?;
                Ok(Some(relay))
            })
            .await
    }
}

impl RelayLeases {
    /// Replaces the times of a lease that lasts with its worker by those that follow from its last
    /// report. Locks the row of the worker, so that no report renews the lease meanwhile.
    async fn resolve_lease(&self, tx: &mut Transaction, relay: &mut Relay) -> Result<()> {
        let progress = self.database.local_state::<RelayProgress>();
        progress.add_to(relay);
        let Some(lease) = &mut relay.lease else {
            return Ok(());
        };
        let sql = for_share!(
            tx,
            "select lease_expire_time from workers where worker_id = $1"
        );
        let renewed: Option<Option<Time>> = fetch_optional_scalar!(tx, sql, [&lease.worker_id])?;
        let renewed = renewed.flatten();
        if lease.lasts_with_worker() {
            lease.expire_time = renewed.unwrap_or(lease.claim_time);
            let report_time = lease.expire_time - self.times.lease;
            if lease.silent_since == RelayLease::WITH_WORKER {
                lease.silent_since = report_time;
            }
            lease.silent_since = lease.silent_since.max(report_time);
        } else if let Some(renewed) = renewed {
            lease.expire_time = lease.expire_time.max(renewed);
        }
        Ok(())
    }
}

/// Locks a project and takes its next revision, unless another transaction has locked it.
pub(super) async fn try_lock_project(tx: &mut Transaction, id: ProjectId) -> Result<Option<i64>> {
    let sql = match tx {
        Transaction::Postgres(_) => {
            "update projects
             set revision = revision + 1
             where id = (
                 select id from projects where id = $1 for no key update skip locked)
             returning revision"
        }
        Transaction::Sqlite(_) => {
            "update projects set revision = revision + 1 where id = $1 returning revision"
        }
    };
    fetch_optional_scalar!(tx, sql, [id])
}
