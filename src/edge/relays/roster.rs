use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{diagnosis, seen::Seen, standing::Standing, work::Work};
use crate::proto::v1::{RelayAssignment, RelayReport, RelayState, ReportRelaysResponse};

/// How often running relays are reported, unless their leases are short.
const REPORT: Duration = Duration::from_secs(2);

/// The relays of a worker, each under its lease.
#[derive(Debug)]
pub(super) struct Roster {
    entries: HashMap<String, Entry>,
    /// For how long relays go on while the control plane is away.
    outage_grace: Duration,
    /// Whether the last report was not answered.
    is_away: bool,
}

#[derive(Debug)]
struct Entry {
    work: Work,
    standing: Standing,
    stop: CancellationToken,
    seen: watch::Receiver<Seen>,
}

/// A relay that is to be run.
#[derive(Debug)]
pub(super) struct Start {
    /// What it is to do.
    pub(super) work: Work,
    /// Says when it is to stop.
    pub(super) stop: CancellationToken,
    /// Where it tells what is seen of it.
    pub(super) seen: watch::Sender<Seen>,
    /// Relays to the same destination: it must not begin before these are over.
    pub(super) after: Vec<watch::Receiver<Seen>>,
}

impl Roster {
    /// Nothing runs yet.
    pub(super) fn new(outage_grace: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            outage_grace,
            is_away: false,
        }
    }

    /// Takes a relay on: gives what is to be run, unless it runs already and goes on
    /// under the new lease. Others to the same destination are stopped.
    pub(super) fn assign(&mut self, assignment: RelayAssignment, now: Instant) -> Option<Start> {
        let lease_id = assignment.lease_id.clone();
        let standing = Standing::new(assignment.lease_expire_time, now);
        let work = Work::from(assignment);
        if self.entries.contains_key(&lease_id) {
            return None;
        }
        if let Some(mut entry) = self.running(&work) {
            entry.standing = standing;
            self.entries.insert(lease_id, entry);
            return None;
        }

        let after = self.make_way(&work);
        let stop = CancellationToken::new();
        let (seen, entry_seen) = watch::channel(Seen::idle_in(RelayState::Starting));
        let entry = Entry {
            work: work.clone(),
            standing,
            stop: stop.clone(),
            seen: entry_seen,
        };
        self.entries.insert(lease_id, entry);
        Some(Start {
            work,
            stop,
            seen,
            after,
        })
    }

    /// Stops what runs under a lease; one that is not known is nothing new.
    pub(super) fn revoke(&mut self, lease_id: &str) {
        if let Some(entry) = self.entries.get(lease_id) {
            entry.stop.cancel();
        }
    }

    /// Stops all.
    pub(super) fn stop(&self) {
        for entry in self.entries.values() {
            entry.stop.cancel();
        }
    }

    /// Stops those that must not run any longer.
    pub(super) fn stop_overdue(&self, now: Instant) {
        let grace = self.is_away.then_some(self.outage_grace);
        for (lease_id, entry) in &self.entries {
            let is_due = !entry.stop.is_cancelled() && now >= entry.standing.until(grace);
            if is_due && !entry.seen().is_over() {
                tracing::warn!(
                    lease_id,
                    stream_id = entry.work.stream_id,
                    destination_id = entry.work.destination_id,
                    "stopping a relay whose lease was not renewed"
                );
                entry.stop.cancel();
            }
        }
    }

    /// How often to report.
    pub(super) fn pace(&self) -> Duration {
        let leases = self.entries.values().map(|entry| entry.standing.length());
        leases.min().map_or(REPORT, |lease| REPORT.min(lease / 4))
    }

    /// What the control plane is to be told.
    pub(super) fn reports(&self) -> Vec<RelayReport> {
        self.entries
            .iter()
            .map(|(lease_id, entry)| (lease_id, entry, entry.seen()))
            .filter(|(_, entry, seen)| seen.is_over() || !entry.standing.is_lost())
            .map(|(lease_id, _, seen)| seen.report(lease_id.clone()))
            .collect()
    }

    /// Takes the answer to reports.
    pub(super) fn answered(
        &mut self,
        reports: &[RelayReport],
        answer: &ReportRelaysResponse,
        now: Instant,
    ) {
        self.is_away = false;
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
    }

    /// Reports were not answered, but for this.
    pub(super) fn unanswered(&mut self, code: Code) {
        self.is_away = matches!(
            code,
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Unknown
                | Code::Internal
        );
    }

    /// Whether there is nothing, nor anything to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether nothing runs.
    pub(super) fn is_over(&self) -> bool {
        self.entries.values().all(|entry| entry.seen().is_over())
    }

    /// Takes out what does the same and goes on.
    fn running(&mut self, work: &Work) -> Option<Entry> {
        let is_that = |entry: &Entry| {
            entry.work.is_same_as(work) && !entry.stop.is_cancelled() && !entry.seen().is_over()
        };
        let found = self.entries.iter().find(|(_, entry)| is_that(entry));
        let lease_id = found?.0.clone();
        self.entries.remove(&lease_id)
    }

    /// Stops what sends to the same destination.
    fn make_way(&self, work: &Work) -> Vec<watch::Receiver<Seen>> {
        let mut after = Vec::new();
        for entry in self.entries.values() {
            if entry.work.destination_id == work.destination_id && !entry.seen().is_over() {
                entry.stop.cancel();
                after.push(entry.seen.clone());
            }
        }
        after
    }
}

impl Entry {
    fn seen(&self) -> Seen {
        let seen = self.seen.borrow().clone();
        let is_gone = self.seen.has_changed().is_err();
        match is_gone && !seen.is_over() {
            true => Seen::ended(Some(diagnosis::of_crash())),
            false => seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::proto::v1::Relay;

    const SECOND: Duration = Duration::from_secs(1);

    fn assignment(lease_id: &str, lease: Duration) -> RelayAssignment {
        RelayAssignment {
            relay: Some(Relay {
                stream_id: "s".to_owned(),
                destination_id: "d".to_owned(),
                ..Default::default()
            }),
            lease_id: lease_id.to_owned(),
            lease_expire_time: Some((SystemTime::now() + lease).into()),
            input_url: "rtmp://127.0.0.1/live/a".to_owned(),
            output_url: "rtmp://127.0.0.1/app/k".to_owned(),
            connection_id: "c".to_owned(),
        }
    }

    fn answer(lost: &[&str], lease: Duration) -> ReportRelaysResponse {
        ReportRelaysResponse {
            lost_lease_ids: lost.iter().map(ToString::to_string).collect(),
            lease_expire_time: Some((SystemTime::now() + lease).into()),
        }
    }

    /// A roster with one relay under the lease `l1`, which is claimed now.
    fn one(lease: Duration) -> (Roster, Start, Instant) {
        let mut roster = Roster::new(SECOND * 600);
        let now = Instant::now();
        let start = roster.assign(assignment("l1", lease), now).unwrap();
        (roster, start, now)
    }

    fn reported(roster: &Roster) -> Vec<(String, RelayState)> {
        let reports = roster.reports().into_iter();
        reports
            .map(|report| (report.lease_id.clone(), report.state()))
            .collect()
    }

    #[test]
    fn a_relay_that_still_runs_goes_on_under_its_new_lease() {
        let (mut roster, start, now) = one(SECOND);
        assert!(roster.assign(assignment("l2", SECOND), now).is_none());
        assert!(!start.stop.is_cancelled());
        assert_eq!(reported(&roster), [("l2".to_owned(), RelayState::Starting)]);
        roster.revoke("l1");
        assert!(!start.stop.is_cancelled());
    }

    #[test]
    fn one_that_is_to_do_something_else_is_stopped_and_waited_for() {
        let other = |change: fn(&mut RelayAssignment)| {
            let mut other = assignment("l2", SECOND);
            change(&mut other);
            other
        };
        for other in [
            other(|it| it.connection_id = "c2".to_owned()),
            other(|it| it.input_url.push('2')),
            other(|it| it.output_url.push('2')),
            other(|it| it.relay.as_mut().unwrap().stream_id.push('2')),
        ] {
            let (mut roster, start, now) = one(SECOND);
            let next = roster.assign(other, now).unwrap();
            assert!(start.stop.is_cancelled());
            assert!(!next.after[0].borrow().is_over());
            start.seen.send_replace(Seen::ended(None));
            assert!(next.after[0].borrow().is_over());
        }
    }

    #[test]
    fn another_destination_is_no_concern() {
        let (mut roster, start, now) = one(SECOND);
        let mut other = assignment("l2", SECOND);
        other.relay.as_mut().unwrap().destination_id = "d2".to_owned();
        let next = roster.assign(other, now).unwrap();
        assert!(next.after.is_empty());
        assert!(!start.stop.is_cancelled());
    }

    #[test]
    fn one_that_is_stopping_is_not_taken_over() {
        let (mut roster, start, now) = one(SECOND);
        roster.revoke("l1");
        let next = roster.assign(assignment("l2", SECOND), now).unwrap();
        assert_eq!(next.after.len(), 1);
        assert!(start.stop.is_cancelled());
    }

    #[test]
    fn a_revoked_lease_is_stopped_at_once() {
        let (roster, start, _) = one(SECOND * 15);
        let mut roster = roster;
        roster.revoke("l1");
        assert!(start.stop.is_cancelled());
    }

    #[test]
    fn a_lease_that_is_taken_away_in_an_answer_is_stopped_at_once() {
        let (mut roster, start, now) = one(SECOND * 15);
        let reports = roster.reports();
        roster.answered(&reports, &answer(&["l1"], SECOND * 15), now);
        assert!(start.stop.is_cancelled());
    }

    #[test]
    fn one_that_ended_while_the_control_plane_was_away_is_held_for_a_new_one() {
        let (mut roster, start, now) = one(SECOND * 15);
        let reports = roster.reports();
        roster.unanswered(Code::Unavailable);
        roster.stop_overdue(now + SECOND * 60);
        let back = now + SECOND * 61;
        roster.answered(&reports, &answer(&["l1"], SECOND * 15), back);
        roster.stop_overdue(back + SECOND * 4);
        assert!(!start.stop.is_cancelled());
        assert!(roster.reports().is_empty());

        let again = roster.assign(assignment("l2", SECOND * 76), back);
        assert!(again.is_none());
        roster.stop_overdue(back + SECOND * 6);
        assert!(!start.stop.is_cancelled());
    }

    #[test]
    fn one_that_is_not_given_again_is_stopped() {
        let (mut roster, start, now) = one(SECOND * 15);
        let reports = roster.reports();
        let back = now + SECOND * 61;
        roster.answered(&reports, &answer(&["l1"], SECOND * 15), back);
        roster.stop_overdue(back + SECOND * 5);
        assert!(start.stop.is_cancelled());
    }

    #[test]
    fn only_a_control_plane_that_is_away_is_waited_for() {
        for (code, is_stopped) in [
            (Code::Unavailable, false),
            (Code::DeadlineExceeded, false),
            (Code::PermissionDenied, true),
            (Code::Unauthenticated, true),
            (Code::ResourceExhausted, true),
        ] {
            let (mut roster, start, now) = one(SECOND * 15);
            roster.unanswered(code);
            roster.stop_overdue(now + SECOND * 12);
            assert_eq!(start.stop.is_cancelled(), is_stopped, "{code}");
            roster.stop_overdue(now + SECOND * 601);
            assert!(start.stop.is_cancelled(), "{code}");
        }
    }

    #[test]
    fn an_end_is_told_until_it_is_heard() {
        let (mut roster, start, now) = one(SECOND * 15);
        start.seen.send_replace(Seen::ended(None));
        let reports = roster.reports();
        roster.unanswered(Code::Unavailable);
        assert_eq!(reported(&roster), [("l1".to_owned(), RelayState::Idle)]);
        roster.answered(&reports, &answer(&[], SECOND * 15), now);
        assert!(roster.is_empty());
    }

    #[test]
    fn a_relay_that_vanished_has_failed() {
        let (roster, start, _) = one(SECOND * 15);
        drop(start);
        assert_eq!(reported(&roster), [("l1".to_owned(), RelayState::Retrying)]);
    }
}
