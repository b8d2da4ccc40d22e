//! What workers report of relays, and what silence does to them.
//!
//! The usual report, of relays that broadcast, is one statement for all of
//! them. It waits for nobody: a row that is being changed is left to the
//! transactions that follow, one for each relay that changes.

use std::collections::{HashMap, HashSet};

use sqlx::FromRow;
use uuid::Uuid;

use super::{
    lease_renewals::{Renewal, keep_leases},
    rows::{RelayRow, load, record_as, store},
};
use crate::{
    database::{Database, Pools, Transaction},
    domain::{
        DestinationId, ProjectId, Relay, RelayReport, RelaySeen, RelayState, RelayTimes, Reported,
        Status, StreamId, Time,
    },
    error::Result,
    repositories::projects::revisions::return_revision,
};

/// Relays, as workers report them.
#[derive(Debug, Clone)]
pub struct RelayWork {
    database: Database,
    times: RelayTimes,
}

/// A relay that is named for a change.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct RelayKey {
    /// The stream.
    pub stream_id: StreamId,
    /// The destination.
    pub destination_id: DestinationId,
    /// The project of both.
    pub project_id: ProjectId,
}

#[derive(FromRow)]
struct HeldRelay {
    #[sqlx(flatten)]
    relay: RelayRow,
    stream_status: String,
}

impl RelayWork {
    /// Relays in this database, which are lost when they exceed these times.
    pub fn new(database: Database, times: RelayTimes) -> Self {
        Self { database, times }
    }

    /// Takes a worker's reports; gives the leases among them that it has no more,
    /// or is to give back.
    pub async fn report(
        &self,
        worker_id: &str,
        reports: Vec<RelayReport>,
        now: Time,
    ) -> Result<Vec<Uuid>> {
        let broadcasting = reports
            .iter()
            .filter(|report| report.seen == RelaySeen::Broadcasting)
            .map(|report| Renewal::of(report, RelayState::Broadcasting, true));
        let renewed = self.renew(worker_id, broadcasting.collect(), now).await?;
        let others: Vec<_> = reports
            .into_iter()
            .filter(|report| !renewed.contains(&report.lease_id))
            .collect();
        match others.is_empty() {
            true => Ok(Vec::new()),
            false => self.report_others(worker_id, others, now).await,
        }
    }

    /// Those that do more than to broadcast: what changes nothing that is numbered
    /// is again one statement.
    async fn report_others(
        &self,
        worker_id: &str,
        reports: Vec<RelayReport>,
        now: Time,
    ) -> Result<Vec<Uuid>> {
        let held = self.held(worker_id).await?;
        let (mut lost, mut quiet, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for report in reports {
            let Some((relay, is_held)) = held.get(&report.lease_id) else {
                lost.push(report.lease_id);
                continue;
            };
            let mut after = relay.clone();
            match after.report(worker_id, &report, *is_held, self.times, now) {
                Reported::Lost => lost.push(report.lease_id),
                Reported::Renewed => {
                    quiet.push(Renewal::of(&report, relay.state, false));
                    changes.push((RelayKey::of(relay), report));
                }
                Reported::Changed => changes.push((RelayKey::of(relay), report)),
            }
        }

        let renewed = self.renew(worker_id, quiet, now).await?;
        changes.retain(|(_, report)| !renewed.contains(&report.lease_id));
        self.keep(worker_id, &changes, now).await?;
        // What fails must not keep the others from being heard.
        let mut failed = Ok(());
        for (key, report) in changes {
            match self.change(worker_id, key, &report, now).await {
                Ok(Reported::Lost) => lost.push(report.lease_id),
                Ok(_) => {}
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed.map(|()| lost)
    }

    /// Renews the leases of relays that change one after the other, which may take
    /// longer than a lease lasts.
    async fn keep(
        &self,
        worker_id: &str,
        changes: &[(RelayKey, RelayReport)],
        now: Time,
    ) -> Result<()> {
        let ids: Vec<_> = changes.iter().map(|(_, report)| report.lease_id).collect();
        match ids.len() {
            0 | 1 => Ok(()),
            _ => keep_leases(&self.database, worker_id, &ids, now + self.times.lease).await,
        }
    }

    async fn renew(
        &self,
        worker_id: &str,
        renewals: Vec<Renewal>,
        now: Time,
    ) -> Result<HashSet<Uuid>> {
        let expire_time = now + self.times.lease;
        Renewal::apply(&self.database, worker_id, renewals, expire_time, now).await
    }

    /// The relays that a worker has, and whether their streams have nothing to send.
    async fn held(&self, worker_id: &str) -> Result<HashMap<Uuid, (Relay, bool)>> {
        let rows = on_engine!(self.database.reader(), pool => sqlx::query_as::<_, HeldRelay>(
            "select r.stream_id, r.destination_id, r.project_id, r.wanted, r.state, r.attempt,
                    r.ready_time, r.last_progress_time, r.bytes_sent, r.bitrate_bps,
                    r.error_code, r.error_severity, r.error_message, r.worker_id, r.lease_id,
                    r.lease_expire_time, r.claim_time, r.broadcast_time, r.silent_since,
                    r.update_time, s.status as stream_status
             from relays r
             join streams s on s.id = r.stream_id
             where r.worker_id = $1",
        )
        .bind(worker_id)
        .fetch_all(pool)
        .await)?;
        let mut held = HashMap::new();
        for row in rows {
            let relay = Relay::try_from(row.relay)?;
            let is_held = row.stream_status == Status::Reconnecting.as_str();
            if let Some(id) = relay.lease.as_ref().map(|lease| lease.id) {
                held.insert(id, (relay, is_held));
            }
        }
        Ok(held)
    }

    /// Applies a report to a relay as it is while its project is locked.
    async fn change(
        &self,
        worker_id: &str,
        key: RelayKey,
        report: &RelayReport,
        now: Time,
    ) -> Result<Reported> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let Some(revision) = take_revision_of(&mut tx, key.project_id).await? else {
                    tx.rollback().await?;
                    return Ok(Reported::Lost);
                };
                let Some(mut relay) = load(&mut tx, key.stream_id, key.destination_id).await?
                else {
                    tx.rollback().await?;
                    return Ok(Reported::Lost);
                };
                let is_held = is_held(&mut tx, key.stream_id).await?;
                let reported = relay.report(worker_id, report, is_held, self.times, now);
                match reported {
                    Reported::Lost => tx.rollback().await?,
                    Reported::Renewed => {
                        store(&mut tx, &relay).await?;
                        return_revision(&mut tx, key.project_id).await?;
                        tx.commit().await?;
                    }
                    Reported::Changed => self.finish(tx, revision, &relay, now).await?,
                }
                Ok(reported)
            })
            .await
    }

    /// Relays that time may have changed: whose lease has expired, or that send
    /// no more bytes; at most `limit`.
    pub async fn overdue(&self, now: Time, limit: i64) -> Result<Vec<RelayKey>> {
        let silent_since = now - self.times.stall;
        Ok(
            on_engine!(self.database.reader(), pool => sqlx::query_as::<_, RelayKey>(
                "select stream_id, destination_id, project_id
                 from relays
                 where lease_id is not null and lease_expire_time <= $1
                 union
                 select r.stream_id, r.destination_id, r.project_id
                 from relays r
                 join streams s on s.id = r.stream_id
                 where r.state = 'broadcasting' and r.silent_since <= $2 and s.status = 'live'
                 limit $3",
            )
            .bind(now)
            .bind(silent_since)
            .bind(limit)
            .fetch_all(pool)
            .await)?,
        )
    }

    /// Applies to a relay what time has done; `None` if that was nothing, or if
    /// somebody else changes its project right now.
    pub async fn expire(&self, key: RelayKey, now: Time) -> Result<Option<Relay>> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let Some(revision) = self.try_revision_of(&mut tx, key.project_id).await? else {
                    tx.rollback().await?;
                    return Ok(None);
                };
                let Some(mut relay) = load(&mut tx, key.stream_id, key.destination_id).await?
                else {
                    tx.rollback().await?;
                    return Ok(None);
                };
                let is_held = is_held(&mut tx, key.stream_id).await?;
                if !relay.expire(is_held, self.times, now) {
                    tx.rollback().await?;
                    return Ok(None);
                }
                self.finish(tx, revision, &relay, now).await?;
                Ok(Some(relay))
            })
            .await
    }

    async fn finish(
        &self,
        mut tx: Transaction,
        revision: i64,
        relay: &Relay,
        now: Time,
    ) -> Result<()> {
        store(&mut tx, relay).await?;
        record_as(&mut tx, revision, relay, now).await?;
        self.database.commit_change(tx, relay.project_id).await
    }

    /// Locks a project and takes its next revision, unless somebody else holds it.
    async fn try_revision_of(&self, tx: &mut Transaction, id: ProjectId) -> Result<Option<i64>> {
        let sql = match &self.database.pools {
            Pools::Postgres(_) => {
                "update projects
                 set revision = revision + 1
                 where id = (
                     select id from projects where id = $1 for no key update skip locked)
                 returning revision"
            }
            Pools::Sqlite { .. } => {
                "update projects set revision = revision + 1 where id = $1 returning revision"
            }
        };
        Ok(on_engine!(tx, tx => sqlx::query_scalar::<_, i64>(sql)
            .bind(id)
            .fetch_optional(&mut **tx)
            .await)?)
    }
}

impl RelayKey {
    fn of(relay: &Relay) -> Self {
        Self {
            stream_id: relay.stream_id,
            destination_id: relay.destination_id,
            project_id: relay.project_id,
        }
    }
}

/// Locks a project and takes its next revision; `None` if it is gone.
async fn take_revision_of(tx: &mut Transaction, id: ProjectId) -> Result<Option<i64>> {
    Ok(on_engine!(tx, tx => sqlx::query_scalar::<_, i64>(
        "update projects set revision = revision + 1 where id = $1 returning revision",
    )
    .bind(id)
    .fetch_optional(&mut **tx)
    .await)?)
}

/// Whether a stream has nothing to send because it waits for its publisher.
async fn is_held(tx: &mut Transaction, id: StreamId) -> Result<bool> {
    let status = on_engine!(tx, tx => {
        sqlx::query_scalar::<_, String>("select status from streams where id = $1")
            .bind(id)
            .fetch_one(&mut **tx)
            .await
    })?;
    Ok(status == Status::Reconnecting.as_str())
}
