use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{
    assignment::{Assignment, RelayInput},
    lease_clock::LeaseClock,
    output::DeliveryQuality,
    relay::Relay,
    relay_failure::RelayFailure,
    status::{RelayStatus, is_over},
};
use crate::{
    edge::control_plane::CALL_TIMEOUT,
    proto::v1::{RelayAssignment, RelayReport, RelayState, ReportRelaysResponse},
    telemetry::metrics::EDGE,
};

/// The longest interval of reports; short leases need a shorter one.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

const MIN_REPORT_TIMEOUT: Duration = Duration::from_millis(500);
const MAX_REPORTS: usize = 1000;

/// The relays of a worker, by the ids of their leases.
#[derive(Debug)]
pub(super) struct LeasedRelays {
    relays: HashMap<String, LeasedRelay>,
    /// Time that relays continue while the control plane is unreachable.
    outage_grace: Duration,
    /// Whether the last report got no answer.
    is_unreachable: bool,
}

/// A relay and its lease.
#[derive(Debug)]
struct LeasedRelay {
    assignment: Assignment,
    /// Tells the relay of changes of its input.
    input: watch::Sender<RelayInput>,
    lease: LeaseClock,
    stop: CancellationToken,
    /// Until when it may drain, if its stream has ended.
    drains_until: Option<Instant>,
    status: watch::Receiver<RelayStatus>,
    /// The part of its bytes and packets that the metrics have.
    counted_bytes: u64,
    counted: DeliveryQuality,
}

impl LeasedRelays {
    pub(super) fn new(outage_grace: Duration) -> Self {
        Self {
            relays: HashMap::new(),
            outage_grace,
            is_unreachable: false,
        }
    }

    /// Adds an assigned relay. Returns the relay to start, unless the same one runs already and
    /// continues, under the new lease or with another input. Others to the same destination are stopped.
    pub(super) fn assign(&mut self, assigned: RelayAssignment, now: Instant) -> Option<Relay> {
        let lease_id = assigned.lease_id.clone();
        let lease = LeaseClock::new(assigned.lease_duration, assigned.lease_expire_time, now);
        let assignment = Assignment::from(assigned);
        if let Some(relay) = self.relays.get_mut(&lease_id) {
            relay.follow(assignment);
            return None;
        }
        if let Some(mut relay) = self.take_running(&assignment) {
            relay.lease = lease;
            relay.follow(assignment);
            self.relays.insert(lease_id, relay);
            return None;
        }

        let predecessors = self.stop_predecessors(&assignment);
        let stop = CancellationToken::new();
        let (status, receiver) = watch::channel(RelayStatus::new(RelayState::Starting));
        let (input, input_changes) = watch::channel(assignment.relay_input());
        let relay = LeasedRelay {
            assignment: assignment.clone(),
            input,
            lease,
            stop: stop.clone(),
            drains_until: None,
            status: receiver,
            counted_bytes: 0,
            counted: DeliveryQuality::default(),
        };
        self.relays.insert(lease_id, relay);
        Some(Relay {
            assignment,
            input: input_changes,
            stop,
            status,
            predecessors,
        })
    }

    /// Stops the relay of a lease that was taken away, if there is one. With a timeout its stream has
    /// ended: what it holds back is sent before.
    pub(super) fn revoke(&mut self, lease_id: &str, drain_timeout: Option<Duration>, now: Instant) {
        let Some(relay) = self.relays.get_mut(lease_id) else {
            return;
        };
        match drain_timeout {
            None => relay.stop.cancel(),
            Some(timeout) => {
                relay.drains_until = Some(now + timeout);
                relay
                    .input
                    .send_if_modified(|input| !std::mem::replace(&mut input.has_ended, true));
            }
        }
    }

    pub(super) fn stop_all(&self) {
        for relay in self.relays.values() {
            relay.stop.cancel();
        }
    }

    /// Stops the relays that must not run any longer.
    pub(super) fn stop_overdue(&self, now: Instant) {
        let grace = self.is_unreachable.then_some(self.outage_grace);
        for (lease_id, relay) in &self.relays {
            if !relay.is_running() {
                continue;
            }
            if relay.drains_until.is_some_and(|until| now >= until) {
                tracing::warn!(
                    lease_id,
                    stream_id = relay.assignment.input.stream_id,
                    destination_id = relay.assignment.destination_id,
                    "stopping a relay that has not sent all of its delayed media in time"
                );
                relay.stop.cancel();
            } else if now >= relay.lease.run_until(grace) {
                tracing::warn!(
                    lease_id,
                    stream_id = relay.assignment.input.stream_id,
                    destination_id = relay.assignment.destination_id,
                    "stopping a relay whose lease was not renewed"
                );
                relay.stop.cancel();
            }
        }
    }

    /// Updates the metrics of the relays that run.
    pub(super) fn update_metrics(&mut self) {
        let mut counts = HashMap::<RelayState, i64>::new();
        let (mut load, mut max_lag_ms) = (0, 0);
        for relay in self.relays.values_mut() {
            let status = relay.status();
            if !status.is_over() {
                *counts.entry(status.state).or_default() += 1;
                load += relay.assignment.cost();
            }
            let sent = status.bytes.saturating_sub(relay.counted_bytes);
            EDGE.relay_bytes.inc_by(sent);
            relay.counted_bytes += sent;
            relay.count_quality(status.quality);
            max_lag_ms = max_lag_ms.max(status.quality.lag_ms);
        }
        EDGE.relays_load.set(load);
        let max_lag = Duration::from_millis(max_lag_ms.try_into().unwrap_or_default());
        EDGE.relay_lag.set(max_lag.as_secs_f64());
        let states = (1..).map_while(|number| RelayState::try_from(number).ok());
        for state in states.filter(|state| !is_over(*state)) {
            let name = state.as_str_name().trim_start_matches("RELAY_STATE_");
            let gauge = EDGE.relays.with_label_values(&[&name.to_lowercase()]);
            gauge.set(counts.get(&state).copied().unwrap_or_default());
        }
    }

    /// Whether there are no relays, nor ended ones to report.
    pub(super) fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    pub(super) fn all_over(&self) -> bool {
        self.relays.values().all(|relay| relay.status().is_over())
    }

    pub(super) fn report_interval(&self) -> Duration {
        self.shortest_lease()
            .map_or(REPORT_INTERVAL, |lease| REPORT_INTERVAL.min(lease / 4))
    }

    /// The timeout of a report: an outage must be noticed before relays have to stop.
    pub(super) fn report_timeout(&self) -> Duration {
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
    pub(super) fn reports(&self) -> Vec<RelayReport> {
        let relays = self.relays.iter();
        let mut reported: Vec<_> = relays
            .map(|(lease_id, relay)| (lease_id, relay, relay.status()))
            .filter(|(_, relay, status)| status.is_over() || !relay.lease.is_lost())
            .collect();
        reported.sort_by_key(|(_, _, status)| !status.is_over());
        let report =
            |(lease_id, _, status): (&String, _, RelayStatus)| status.report(lease_id.clone());
        reported.into_iter().take(MAX_REPORTS).map(report).collect()
    }

    /// Applies the answer to reports, which were sent at `sent_at`. Returns whether the
    /// control plane was unreachable before.
    pub(super) fn apply_answer(
        &mut self,
        reports: &[RelayReport],
        answer: &ReportRelaysResponse,
        sent_at: Instant,
        now: Instant,
    ) -> bool {
        let was_unreachable = std::mem::take(&mut self.is_unreachable);
        let renewed = LeaseClock::new(answer.lease_duration, answer.lease_expire_time, sent_at);
        for report in reports {
            let Some(relay) = self.relays.get_mut(&report.lease_id) else {
                continue;
            };
            if is_over(report.state()) {
                self.relays.remove(&report.lease_id);
                if let Some(error) = &report.error {
                    EDGE.relay_failures.with_label_values(&[&error.code]).inc();
                }
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
    pub(super) fn report_failed(&mut self, code: Code) {
        self.is_unreachable = !matches!(
            code,
            Code::Unauthenticated
                | Code::PermissionDenied
                | Code::InvalidArgument
                | Code::NotFound
                | Code::FailedPrecondition
        );
    }

    fn take_running(&mut self, assignment: &Assignment) -> Option<LeasedRelay> {
        let is_same = |relay: &LeasedRelay| assignment.continues(&relay.assignment);
        let mut relays = self.relays.iter();
        let found = relays.find(|(_, relay)| is_same(relay) && relay.is_running());
        let lease_id = found?.0.clone();
        self.relays.remove(&lease_id)
    }

    fn stop_predecessors(&self, assignment: &Assignment) -> Vec<watch::Receiver<RelayStatus>> {
        let mut predecessors = Vec::new();
        for relay in self.relays.values() {
            let is_same_destination = relay.assignment.destination_id == assignment.destination_id;
            if is_same_destination && !relay.status().is_over() {
                relay.stop.cancel();
                predecessors.push(relay.status.clone());
            }
        }
        predecessors
    }
}

impl LeasedRelay {
    /// Continues with the input of an assignment.
    fn follow(&mut self, assignment: Assignment) {
        let mut input = assignment.relay_input();
        self.assignment.input = assignment.input;
        self.assignment.holds = assignment.holds;
        let is_change = |present: &mut RelayInput| {
            input.has_ended = present.has_ended;
            let is_change = *present != input;
            present.clone_from(&input);
            is_change
        };
        self.input.send_if_modified(is_change);
    }

    /// Adds what is new to the metrics.
    fn count_quality(&mut self, now: DeliveryQuality) {
        let before = std::mem::replace(&mut self.counted, now);
        let dropped = now.dropped_packets.saturating_sub(before.dropped_packets);
        let again = now.retransmitted_segments;
        EDGE.relay_dropped_packets.inc_by(dropped);
        EDGE.relay_retransmitted_segments
            .inc_by(again.saturating_sub(before.retransmitted_segments));
    }

    /// Whether it neither has ended nor has to.
    fn is_running(&self) -> bool {
        !self.stop.is_cancelled() && !self.status().is_over()
    }

    /// Its current status. A relay whose task is gone without an end has crashed.
    fn status(&self) -> RelayStatus {
        let status = self.status.borrow().clone();
        let is_gone = self.status.has_changed().is_err();
        match is_gone && !status.is_over() {
            true => RelayStatus::ended(Some(RelayFailure::crashed())),
            false => status,
        }
    }
}
