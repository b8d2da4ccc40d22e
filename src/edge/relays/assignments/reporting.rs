use std::time::{Duration, Instant};

use tonic::Code;

use super::Roster;
use crate::{
    edge::{credentials::CALL, relays::lease_clock::Standing},
    proto::v1::{RelayReport, RelayState, ReportRelaysResponse},
};

/// How often running relays are reported, unless their leases are short.
const REPORT: Duration = Duration::from_secs(2);

/// How short a time the control plane is given in any case.
const SHORTEST: Duration = Duration::from_millis(500);

/// How many reports may be told at once.
const MOST: usize = 1000;

impl Roster {
    /// How often to report.
    pub(in crate::edge::relays) fn pace(&self) -> Duration {
        self.lease().map_or(REPORT, |lease| REPORT.min(lease / 4))
    }

    /// How long a report may take: whether the control plane is away must be known before
    /// relays are stopped.
    pub(in crate::edge::relays) fn patience(&self) -> Duration {
        self.lease()
            .map_or(CALL, |lease| CALL.min(lease / 3).max(SHORTEST))
    }

    /// The shortest lease.
    fn lease(&self) -> Option<Duration> {
        let leases = self.entries.values().map(|entry| entry.standing.length());
        leases.min()
    }

    /// What the control plane is to be told.
    pub(in crate::edge::relays) fn reports(&self) -> Vec<RelayReport> {
        let entries = self.entries.iter();
        let mut told: Vec<_> = entries
            .map(|(lease_id, entry)| (lease_id, entry, entry.seen()))
            .filter(|(_, entry, seen)| seen.is_over() || !entry.standing.is_lost())
            .collect();
        // These make room for the others.
        told.sort_by_key(|(_, _, seen)| !seen.is_over());
        told.into_iter()
            .take(MOST)
            .map(|(lease_id, _, seen)| seen.report(lease_id.clone()))
            .collect()
    }

    /// Takes the answer to reports; tells whether the control plane was away before.
    pub(in crate::edge::relays) fn answered(
        &mut self,
        reports: &[RelayReport],
        answer: &ReportRelaysResponse,
        now: Instant,
    ) -> bool {
        let was_away = std::mem::take(&mut self.is_away);
        let renewed = Standing::new(answer.lease_expire_time, now);
        for report in reports {
            let Some(entry) = self.entries.get_mut(&report.lease_id) else {
                continue;
            };
            let gives_back = matches!(
                report.state(),
                RelayState::Idle | RelayState::Retrying | RelayState::Failed
            );
            if gives_back {
                self.entries.remove(&report.lease_id);
            } else if !answer.lost_lease_ids.contains(&report.lease_id) {
                entry.standing = renewed;
            } else if !entry.standing.lose(now) {
                entry.stop.cancel();
            }
        }
        was_away
    }

    /// Reports were not answered, but for this. Only an answer that says something of this
    /// worker ends its leases: a control plane that is shedding load or cannot write gives
    /// none of them to anybody else.
    pub(in crate::edge::relays) fn unanswered(&mut self, code: Code) {
        self.is_away = !matches!(
            code,
            Code::Unauthenticated
                | Code::PermissionDenied
                | Code::InvalidArgument
                | Code::NotFound
                | Code::FailedPrecondition
        );
    }
}
