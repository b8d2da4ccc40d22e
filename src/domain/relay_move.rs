//! The move of a relay from one worker to another.
//!
//! A destination that permits a second connection gets media without a gap: the worker goes on
//! under its [`OutgoingLease`] until the next one sends. Any other destination would refuse the
//! second connection, or end the first one: its relay is stopped, and then claimed again.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{OutgoingLease, Relay, RelayReport, RelayState, ReportOutcome, Time};

/// How long a worker goes on at most with a relay that has moved away. The next one needs some
/// seconds; if it fails, it tries again within this time.
const MAX_OVERLAP: TimeDelta = TimeDelta::seconds(60);

/// How long a worker runs a relay at least before it moves away, so that one that comes back
/// because no other worker takes it does not move again at once.
pub const MIN_RUN: TimeDelta = TimeDelta::seconds(10);

/// How long relays wait for another worker before one at a media server that drains claims them.
pub const DRAINING_CLAIM_DELAY: TimeDelta = TimeDelta::seconds(5);

impl Relay {
    /// Moves it to another worker. With `overlaps`, the destination permits a second connection,
    /// and a worker that sends goes on until the next one does. Returns whether it changed.
    pub fn move_away(&mut self, overlaps: bool, now: Time) -> bool {
        let runs = matches!(
            self.state,
            RelayState::Starting
                | RelayState::Broadcasting
                | RelayState::Holding
                | RelayState::Stalled
        );
        let Some(lease) = self.lease.as_ref().filter(|_| self.wanted && runs) else {
            return false;
        };
        if lease.claim_time + MIN_RUN > now {
            return false;
        }
        let sends = matches!(self.state, RelayState::Broadcasting | RelayState::Holding);
        if !overlaps || !sends {
            self.reset(now);
            return true;
        }
        self.outgoing = Some(OutgoingLease {
            id: lease.id,
            worker_id: lease.worker_id.clone(),
            expire_time: now + MAX_OVERLAP,
        });
        self.lease = None;
        self.enter(RelayState::Idle, now);
        true
    }

    /// Whether a worker reports under the lease that it goes on with.
    pub fn is_outgoing(&self, worker_id: &str, lease_id: Uuid) -> bool {
        let outgoing = self.outgoing.as_ref();
        outgoing.is_some_and(|one| one.id == lease_id && one.worker_id == worker_id)
    }

    /// Applies a report of the worker that it moves away from; `None` if it is one of another lease.
    pub(super) fn report_outgoing(
        &mut self,
        worker_id: &str,
        report: &RelayReport,
        now: Time,
    ) -> Option<ReportOutcome> {
        if !self.is_outgoing(worker_id, report.lease_id) {
            return None;
        }
        let outgoing = self.outgoing.as_ref()?;
        let goes_on = self.wanted && outgoing.expire_time > now;
        Some(match (report.keeps_lease(), goes_on) {
            (true, true) => ReportOutcome::Renewed,
            (true, false) => ReportOutcome::Lost,
            (false, _) => {
                self.outgoing = None;
                self.update_time = now;
                ReportOutcome::Changed
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{
        DestinationId, IngestProtocol, ProjectId, Publisher, RelayDelivery, RelayTimeouts,
        ReportedState, Stream, StreamTimeouts, now as present,
    };

    const TIMES: RelayTimeouts = RelayTimeouts {
        lease: Duration::from_secs(15),
        stall: Duration::from_secs(10),
    };

    fn report_of(lease_id: Uuid, state: ReportedState, bytes_sent: i64) -> RelayReport {
        RelayReport {
            lease_id,
            bytes_sent,
            bitrate_bps: 0,
            delivery: RelayDelivery::default(),
            state,
        }
    }

    /// A relay that `w1` sends since the time before which it may not move; and its lease.
    fn broadcasting(now: Time) -> (Relay, Uuid) {
        let publisher = Publisher {
            node_id: "n".to_owned(),
            boot_id: "b".to_owned(),
            connection_id: "c".to_owned(),
            peer_address: String::new(),
            protocol: IngestProtocol::Rtmp,
        };
        let timeouts = StreamTimeouts {
            connect: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
        };
        let stream = Stream::begin(ProjectId::generate(), publisher, timeouts, now);
        let mut relay = Relay::new(&stream, DestinationId::generate(), now);
        relay.claim("w1", TIMES, now - MIN_RUN);
        let lease = relay.lease.as_ref().unwrap().id;
        let report = report_of(lease, ReportedState::Broadcasting, 9);
        relay.report("w1", &report, false, TIMES, now);
        assert_eq!(relay.state, RelayState::Broadcasting);
        (relay, lease)
    }

    #[test]
    fn where_two_connections_are_permitted_a_worker_goes_on_until_the_next_one_sends() {
        let now = present();
        let (mut relay, old) = broadcasting(now);
        assert!(relay.move_away(true, now));
        assert!(relay.is_claimable(now));
        let goes_on = report_of(old, ReportedState::Broadcasting, 20);
        let outcome = relay.report("w1", &goes_on, false, TIMES, now);
        assert_eq!(outcome, ReportOutcome::Renewed);

        relay.claim("w2", TIMES, now);
        let new = relay.lease.as_ref().unwrap().id;
        let starts = report_of(new, ReportedState::Starting, 0);
        relay.report("w2", &starts, false, TIMES, now);
        let outcome = relay.report("w1", &goes_on, false, TIMES, now);
        assert_eq!(outcome, ReportOutcome::Renewed);
        let sends = report_of(new, ReportedState::Broadcasting, 1);
        relay.report("w2", &sends, false, TIMES, now);
        let outcome = relay.report("w1", &goes_on, false, TIMES, now);
        assert_eq!(outcome, ReportOutcome::Lost);
        assert_eq!(relay.state, RelayState::Broadcasting);
    }

    #[test]
    fn a_worker_does_not_go_on_for_longer_than_a_minute_nor_after_a_stop() {
        let now = present();
        let (moved, old) = {
            let (mut relay, old) = broadcasting(now);
            relay.move_away(true, now);
            (relay, old)
        };
        let goes_on = report_of(old, ReportedState::Broadcasting, 20);
        for (seconds, expected) in [(59, ReportOutcome::Renewed), (60, ReportOutcome::Lost)] {
            let later = now + TimeDelta::seconds(seconds);
            let outcome = moved.clone().report("w1", &goes_on, false, TIMES, later);
            assert_eq!(outcome, expected, "after {seconds} s");
        }
        let other_worker = moved.clone().report("w2", &goes_on, false, TIMES, now);
        assert_eq!(other_worker, ReportOutcome::Lost);

        let mut stopped = moved.clone();
        assert!(stopped.stop(now));
        let outcome = stopped.report("w1", &goes_on, false, TIMES, now);
        assert_eq!(outcome, ReportOutcome::Lost);

        let mut returned = moved;
        let ended = report_of(old, ReportedState::Stopped, 20);
        let outcome = returned.report("w1", &ended, false, TIMES, now);
        assert_eq!(
            (outcome, &returned.outgoing),
            (ReportOutcome::Changed, &None)
        );
        assert!(returned.is_claimable(now));
    }

    #[test]
    fn elsewhere_a_worker_stops_before_the_next_one_starts() {
        let now = present();
        let (mut relay, old) = broadcasting(now);
        assert!(relay.move_away(false, now));
        assert_eq!(relay.state, RelayState::Stopping);
        assert!(!relay.is_claimable(now));
        let stopped = report_of(old, ReportedState::Stopped, 20);
        relay.report("w1", &stopped, false, TIMES, now);
        assert!(relay.is_claimable(now), "at once");
    }

    #[test]
    fn a_relay_that_has_just_been_claimed_or_does_not_run_stays() {
        let now = present();
        let (relay, _) = broadcasting(now);
        let mut fresh = relay.clone();
        fresh.lease.as_mut().unwrap().claim_time = now - MIN_RUN + TimeDelta::seconds(1);
        assert!(!fresh.move_away(true, now));
        let mut stopped = relay;
        stopped.stop(now);
        assert!(!stopped.move_away(true, now));
    }
}
