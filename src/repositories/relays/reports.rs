//! The reports of workers on relays.
//!
//! A report that changes no state of a relay is one statement for the lease of its worker and one
//! read, however many relays it has. What it writes beside that does not wait: it skips locked
//! rows. Each relay that changes has a transaction of its own.

use std::{collections::HashMap, sync::Arc};

use sqlx::FromRow;
use uuid::Uuid;

use super::{
    RelayLeases,
    lease_renewals::{LeaseRenewal, extend_leases, renew_worker},
    progress::{RelayProgress, WRITE_INTERVAL},
    rows::{is_reconnecting, load, record_with_revision, relay_columns, store},
};
use crate::{
    database::Transaction,
    domain::{
        ProjectId, Relay, RelayLease, RelayReport, ReportOutcome, ReportedState, StreamState, Time,
    },
    error::Result,
    repositories::projects::rows::return_revision,
};

/// A relay that a worker holds or goes on with.
#[derive(Clone, FromRow)]
struct LeasedRelay {
    #[sqlx(flatten)]
    relay: Relay,
    stream_status: StreamState,
}

impl RelayLeases {
    /// Applies a worker's reports. Returns the leases among them that the worker has lost or
    /// must release.
    pub async fn report(
        &self,
        worker_id: &str,
        reports: Vec<RelayReport>,
        now: Time,
    ) -> Result<Vec<Uuid>> {
        if reports.is_empty() {
            return Ok(Vec::new());
        }
        let is_complete = self.renew_worker(worker_id, &reports, now).await?;
        let leased = self.leased(worker_id).await?;
        let progress = self.progress();
        let (mut lost, mut renewals, mut renewed) = (Vec::new(), Vec::new(), Vec::new());
        let mut changes = Vec::new();
        for report in reports {
            let Some(LeasedRelay {
                relay,
                stream_status,
            }) = leased.get(&report.lease_id)
            else {
                lost.push(report.lease_id);
                continue;
            };
            let is_reconnecting = *stream_status == StreamState::Reconnecting;
            let mut after = relay.clone();
            if relay.is_outgoing(worker_id, report.lease_id) {
                match after.report(worker_id, &report, is_reconnecting, self.times, now) {
                    ReportOutcome::Lost => lost.push(report.lease_id),
                    // Its lease has an end that no report changes.
                    ReportOutcome::Renewed => {}
                    ReportOutcome::Changed => changes.push((relay, report)),
                }
                continue;
            }
            progress.resume(&mut after, now);
            match after.report(worker_id, &report, is_reconnecting, self.times, now) {
                ReportOutcome::Lost => lost.push(report.lease_id),
                ReportOutcome::Renewed => {
                    if !is_complete || is_to_be_written(relay, &after, now) {
                        renewals.push(LeaseRenewal::new(&report, relay.state));
                    }
                    renewed.push((relay, after, report));
                }
                ReportOutcome::Changed => changes.push((relay, report)),
            }
        }

        let expire_time = match is_complete {
            true => RelayLease::WITH_WORKER,
            false => now + self.times.lease,
        };
        let written =
            LeaseRenewal::apply(&self.database, worker_id, &renewals, expire_time, now).await?;
        for (relay, after, report) in renewed {
            match is_complete || written.contains(&report.lease_id) {
                true => progress.remember(&after, now),
                false => changes.push((relay, report)),
            }
        }
        if !is_complete && changes.len() > 1 {
            // One after the other, they may take longer than the duration of a lease.
            let ids: Vec<_> = changes.iter().map(|(_, report)| report.lease_id).collect();
            extend_leases(&self.database, worker_id, &ids, now + self.times.lease).await?;
        }
        // A failure does not keep the other reports from being applied.
        let mut failed = Ok(());
        for (before, report) in changes {
            match self.change(worker_id, before, &report, now).await {
                Ok(ReportOutcome::Lost) => lost.push(report.lease_id),
                Ok(_) => {}
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed.map(|()| lost)
    }

    /// Ends the leases of a worker that does not run any more. Its relays can be claimed again.
    pub async fn end_leases(&self, worker_id: &str, now: Time) -> Result<()> {
        let held = self.list_leases(worker_id, now).await?;
        let ended = held.iter().map(|lease| RelayReport {
            state: ReportedState::Abandoned,
            ..RelayReport::stopped(lease.lease_id)
        });
        self.report(worker_id, ended.collect(), now).await?;
        Ok(())
    }

    /// What this server was told of relays, and has not written yet.
    fn progress(&self) -> Arc<RelayProgress> {
        self.database.local_state()
    }

    /// Renews the leases that last with the reports of a worker, if these reports are all of its
    /// leases, and one of them goes on; returns whether it did.
    async fn renew_worker(
        &self,
        worker_id: &str,
        reports: &[RelayReport],
        now: Time,
    ) -> Result<bool> {
        if !reports.iter().any(RelayReport::keeps_lease) {
            return Ok(false);
        }
        let reported: Vec<_> = reports.iter().map(|report| report.lease_id).collect();
        let expire_time = now + self.times.lease;
        renew_worker(&self.database, worker_id, &reported, expire_time).await
    }

    /// The relays that a worker holds or goes on with, by lease.
    async fn leased(&self, worker_id: &str) -> Result<HashMap<Uuid, LeasedRelay>> {
        let rows: Vec<LeasedRelay> = fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                relay_columns!("r."),
                ", s.status as stream_status
                 from relays r
                 join streams s on s.id = r.stream_id
                 where r.worker_id = $1
                 union all
                 select ",
                relay_columns!("r."),
                ", s.status
                 from relays r
                 join streams s on s.id = r.stream_id
                 where r.outgoing_worker_id = $1",
            ),
            [worker_id]
        )?;
        let mut leased = HashMap::with_capacity(rows.len());
        for row in rows {
            let relay = &row.relay;
            let held = relay
                .lease
                .as_ref()
                .filter(|one| one.worker_id == worker_id);
            let held = held.map(|one| one.id);
            let outgoing = relay.outgoing.as_ref();
            let outgoing = outgoing.filter(|one| one.worker_id == worker_id);
            // The worker may have claimed again what moves away from it.
            if let Some(outgoing) = outgoing {
                leased.insert(outgoing.id, row.clone());
            }
            leased.extend(held.map(|id| (id, row)));
        }
        Ok(leased)
    }

    /// Applies a report to a relay under the lock of its project.
    async fn change(
        &self,
        worker_id: &str,
        before: &Relay,
        report: &RelayReport,
        now: Time,
    ) -> Result<ReportOutcome> {
        let progress = &self.progress();
        let reported = self
            .database
            .transaction(|mut tx| async move {
                let Some(revision) = lock_project(&mut tx, before.project_id).await? else {
                    return tx.rollback(None).await;
                };
                let relay = load(&mut tx, before.stream_id, before.destination_id).await?;
                let Some(mut relay) = relay else {
                    return tx.rollback(None).await;
                };
                progress.resume(&mut relay, now);
                let is_reconnecting = is_reconnecting(&mut tx, before.stream_id).await?;
                let reported = relay.report(worker_id, report, is_reconnecting, self.times, now);
                match reported {
                    ReportOutcome::Lost => return tx.rollback(None).await,
                    ReportOutcome::Renewed => {
                        store(&mut tx, &relay).await?;
                        return_revision(&mut tx, before.project_id).await?;
                        tx.commit(()).await?;
                    }
                    ReportOutcome::Changed => self.finish(tx, revision, &relay, now).await?,
                }
                Ok(Some((reported, relay)))
            })
            .await?;
        let Some((reported, relay)) = reported else {
            return Ok(ReportOutcome::Lost);
        };
        match relay
            .lease
            .as_ref()
            .is_some_and(|lease| lease.id == report.lease_id)
        {
            true => progress.remember(&relay, now),
            false => progress.forget(report.lease_id),
        }
        Ok(reported)
    }

    /// Commits the change of a relay with this revision.
    pub(super) async fn finish(
        &self,
        mut tx: Transaction,
        revision: i64,
        relay: &Relay,
        now: Time,
    ) -> Result<()> {
        store(&mut tx, relay).await?;
        record_with_revision(&mut tx, revision, relay, now).await?;
        self.database.commit_change(tx, relay.project_id).await
    }
}

/// Whether a report that changes no state has to be written, although the worker's lease covers
/// the relay: for the first time after a change, and once its figures are old or tell of drops.
fn is_to_be_written(stored: &Relay, after: &Relay, now: Time) -> bool {
    let is_covered = stored.lease.as_ref().is_some_and(|lease| {
        lease.lasts_with_worker() && lease.silent_since == RelayLease::WITH_WORKER
    });
    let is_old = stored
        .last_progress_time
        .is_none_or(|time| time + WRITE_INTERVAL <= now);
    let has_grown = after.bytes_sent > stored.bytes_sent;
    let has_dropped = after.delivery.dropped_packets > stored.delivery.dropped_packets;
    !is_covered || is_old && has_grown || has_dropped
}

/// Locks a project and takes its next revision. `None` if it does not exist.
async fn lock_project(tx: &mut Transaction, id: ProjectId) -> Result<Option<i64>> {
    fetch_optional_scalar!(
        tx,
        "update projects set revision = revision + 1 where id = $1 returning revision",
        [id]
    )
}
