//! The reports of workers on relays.
//!
//! A report of broadcasting and holding relays is one statement for all of them. It does not wait: it
//! skips locked rows. Each relay that changes or was skipped then has a transaction of its
//! own.

use std::collections::{HashMap, HashSet};

use sqlx::FromRow;
use uuid::Uuid;

use super::{
    RelayLeases,
    lease_renewals::{LeaseRenewal, extend_leases},
    rows::{is_reconnecting, load, record_with_revision, relay_columns, store},
};
use crate::{
    database::Transaction,
    domain::{
        ProjectId, Relay, RelayReport, RelayState, ReportOutcome, ReportedState, StreamState, Time,
    },
    error::Result,
    repositories::projects::rows::return_revision,
};

/// A relay that a worker holds.
#[derive(FromRow)]
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
        let progressing = reports.iter().filter_map(|report| {
            let state = match report.state {
                ReportedState::Broadcasting => RelayState::Broadcasting,
                ReportedState::Holding => RelayState::Holding,
                _ => return None,
            };
            Some(LeaseRenewal::new(report, state, true))
        });
        let renewed = self.renew(worker_id, progressing.collect(), now).await?;
        let others: Vec<_> = reports
            .into_iter()
            .filter(|report| !renewed.contains(&report.lease_id))
            .collect();
        match others.is_empty() {
            true => Ok(Vec::new()),
            false => self.report_others(worker_id, others, now).await,
        }
    }

    /// Ends the leases of a worker that does not run any more. Its relays can be claimed again.
    pub async fn end_leases(&self, worker_id: &str, now: Time) -> Result<()> {
        let held = self.list_leases(worker_id).await?;
        let ended = held.iter().map(|lease| RelayReport {
            state: ReportedState::Abandoned,
            ..RelayReport::stopped(lease.lease_id)
        });
        self.report(worker_id, ended.collect(), now).await?;
        Ok(())
    }

    /// Applies all other reports. Those that change no revision are again one statement.
    async fn report_others(
        &self,
        worker_id: &str,
        reports: Vec<RelayReport>,
        now: Time,
    ) -> Result<Vec<Uuid>> {
        let leased = self.leased(worker_id).await?;
        let (mut lost, mut quiet, mut changes) = (Vec::new(), Vec::new(), Vec::new());
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
            match after.report(worker_id, &report, is_reconnecting, self.times, now) {
                ReportOutcome::Lost => lost.push(report.lease_id),
                ReportOutcome::Renewed => {
                    quiet.push(LeaseRenewal::new(&report, relay.state, false));
                    changes.push((relay, report));
                }
                ReportOutcome::Changed => changes.push((relay, report)),
            }
        }

        let renewed = self.renew(worker_id, quiet, now).await?;
        changes.retain(|(_, report)| !renewed.contains(&report.lease_id));
        if changes.len() > 1 {
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

    async fn renew(
        &self,
        worker_id: &str,
        renewals: Vec<LeaseRenewal>,
        now: Time,
    ) -> Result<HashSet<Uuid>> {
        let expire_time = now + self.times.lease;
        LeaseRenewal::apply(&self.database, worker_id, renewals, expire_time, now).await
    }

    /// The relays that a worker holds, by lease.
    async fn leased(&self, worker_id: &str) -> Result<HashMap<Uuid, LeasedRelay>> {
        let rows: Vec<LeasedRelay> = fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                relay_columns!("r."),
                ", s.status as stream_status
                 from relays r
                 join streams s on s.id = r.stream_id
                 where r.worker_id = $1",
            ),
            [worker_id]
        )?;
        let by_lease = |row: LeasedRelay| Some((row.relay.lease.as_ref()?.id, row));
        Ok(rows.into_iter().filter_map(by_lease).collect())
    }

    /// Applies a report to a relay under the lock of its project.
    async fn change(
        &self,
        worker_id: &str,
        before: &Relay,
        report: &RelayReport,
        now: Time,
    ) -> Result<ReportOutcome> {
        self.database
            .transaction(|mut tx| async move {
                let Some(revision) = lock_project(&mut tx, before.project_id).await? else {
                    return tx.rollback(ReportOutcome::Lost).await;
                };
                let relay = load(&mut tx, before.stream_id, before.destination_id).await?;
                let Some(mut relay) = relay else {
                    return tx.rollback(ReportOutcome::Lost).await;
                };
                let is_reconnecting = is_reconnecting(&mut tx, before.stream_id).await?;
                let reported = relay.report(worker_id, report, is_reconnecting, self.times, now);
                match reported {
                    ReportOutcome::Lost => tx.rollback(()).await?,
                    ReportOutcome::Renewed => {
                        store(&mut tx, &relay).await?;
                        return_revision(&mut tx, before.project_id).await?;
                        tx.commit(()).await?;
                    }
                    ReportOutcome::Changed => self.finish(tx, revision, &relay, now).await?,
                }
                Ok(reported)
            })
            .await
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

/// Locks a project and takes its next revision. `None` if it does not exist.
async fn lock_project(tx: &mut Transaction, id: ProjectId) -> Result<Option<i64>> {
    fetch_optional_scalar!(
        tx,
        "update projects set revision = revision + 1 where id = $1 returning revision",
        [id]
    )
}
