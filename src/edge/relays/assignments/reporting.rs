use std::time::{Duration, Instant};

use tonic::Code;

use super::Assignments;
use crate::{
    edge::{control::CALL_TIMEOUT, relays::lease_clock::LeaseClock},
    proto::v1::{RelayReport, RelayState, ReportRelaysResponse},
};

/// The longest interval of reports; short leases need a shorter one.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// The shortest timeout of a report.
const MIN_REPORT_TIMEOUT: Duration = Duration::from_millis(500);

/// The most relays in a report.
const MAX_REPORTS: usize = 1000;

impl Assignments {
    /// The interval of reports.
    pub(in crate::edge::relays) fn report_interval(&self) -> Duration {
        self.shortest_lease()
            .map_or(REPORT_INTERVAL, |lease| REPORT_INTERVAL.min(lease / 4))
    }

    /// The timeout of a report: an outage must be noticed before relays have to stop.
    pub(in crate::edge::relays) fn report_timeout(&self) -> Duration {
        self.shortest_lease().map_or(CALL_TIMEOUT, |lease| {
            CALL_TIMEOUT.min(lease / 3).max(MIN_REPORT_TIMEOUT)
        })
    }

    fn shortest_lease(&self) -> Option<Duration> {
        let leases = self.relays.values().map(|relay| relay.lease.duration());
        leases.min()
    }

    /// The reports of all relays but those held for a new lease. Ended ones come first, as
    /// they make room for others.
    pub(in crate::edge::relays) fn reports(&self) -> Vec<RelayReport> {
        let relays = self.relays.iter();
        let mut reported: Vec<_> = relays
            .map(|(lease_id, relay)| (lease_id, relay, relay.status()))
            .filter(|(_, relay, status)| status.is_over() || !relay.lease.is_lost())
            .collect();
        reported.sort_by_key(|(_, _, status)| !status.is_over());
        reported
            .into_iter()
            .take(MAX_REPORTS)
            .map(|(lease_id, _, status)| status.report(lease_id.clone()))
            .collect()
    }

    /// Applies the answer to reports. Returns whether the control plane was unreachable
    /// before.
    pub(in crate::edge::relays) fn apply_answer(
        &mut self,
        reports: &[RelayReport],
        answer: &ReportRelaysResponse,
        now: Instant,
    ) -> bool {
        let was_unreachable = std::mem::take(&mut self.is_unreachable);
        let renewed = LeaseClock::new(answer.lease_expire_time, now);
        for report in reports {
            let Some(relay) = self.relays.get_mut(&report.lease_id) else {
                continue;
            };
            let returns_lease = matches!(
                report.state(),
                RelayState::Idle | RelayState::Retrying | RelayState::Failed
            );
            if returns_lease {
                self.relays.remove(&report.lease_id);
            } else if !answer.lost_lease_ids.contains(&report.lease_id) {
                relay.lease = renewed;
            } else if !relay.lease.lose(now) {
                relay.stop.cancel();
            }
        }
        was_unreachable
    }

    /// A report failed with this code. Only codes that concern this worker end its leases: a
    /// control plane that sheds load or cannot write assigns none of them to another worker.
    pub(in crate::edge::relays) fn report_failed(&mut self, code: Code) {
        self.is_unreachable = !matches!(
            code,
            Code::Unauthenticated
                | Code::PermissionDenied
                | Code::InvalidArgument
                | Code::NotFound
                | Code::FailedPrecondition
        );
    }
}
