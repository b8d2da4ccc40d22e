use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    edge::relays::{
        assignment::Assignment, diagnosis, lease_clock::LeaseClock, status::RelayStatus,
    },
    proto::v1::{RelayAssignment, RelayState},
};

/// The relays of a worker, by the ids of their leases.
#[derive(Debug)]
pub(in crate::edge::relays) struct Assignments {
    pub(super) relays: HashMap<String, AssignedRelay>,
    /// Time that relays continue while the control plane is unreachable.
    outage_grace: Duration,
    /// Whether the last report got no answer.
    pub(super) is_unreachable: bool,
}

/// A relay and its lease.
#[derive(Debug)]
pub(super) struct AssignedRelay {
    assignment: Assignment,
    pub(super) lease: LeaseClock,
    pub(super) stop: CancellationToken,
    status: watch::Receiver<RelayStatus>,
}

/// A relay to be started.
#[derive(Debug)]
pub(in crate::edge::relays) struct NewRelay {
    /// Its input and output.
    pub(in crate::edge::relays) assignment: Assignment,
    /// Cancelled when it has to stop.
    pub(in crate::edge::relays) stop: CancellationToken,
    /// Its status.
    pub(in crate::edge::relays) status: watch::Sender<RelayStatus>,
    /// The relays to the same destination, which must end before it starts.
    pub(in crate::edge::relays) predecessors: Vec<watch::Receiver<RelayStatus>>,
}

impl Assignments {
    /// A worker without relays.
    pub(in crate::edge::relays) fn new(outage_grace: Duration) -> Self {
        Self {
            relays: HashMap::new(),
            outage_grace,
            is_unreachable: false,
        }
    }

    /// Adds an assigned relay. Returns the relay to start, unless the same one runs already
    /// and continues under the new lease. Others to the same destination are stopped.
    pub(in crate::edge::relays) fn assign(
        &mut self,
        assigned: RelayAssignment,
        now: Instant,
    ) -> Option<NewRelay> {
        let lease_id = assigned.lease_id.clone();
        let lease = LeaseClock::new(assigned.lease_expire_time, now);
        let assignment = Assignment::from(assigned);
        if self.relays.contains_key(&lease_id) {
            return None;
        }
        if let Some(mut relay) = self.take_running(&assignment) {
            relay.lease = lease;
            self.relays.insert(lease_id, relay);
            return None;
        }

        let predecessors = self.stop_predecessors(&assignment);
        let stop = CancellationToken::new();
        let (status, receiver) = watch::channel(RelayStatus::new(RelayState::Starting));
        let relay = AssignedRelay {
            assignment: assignment.clone(),
            lease,
            stop: stop.clone(),
            status: receiver,
        };
        self.relays.insert(lease_id, relay);
        Some(NewRelay {
            assignment,
            stop,
            status,
            predecessors,
        })
    }

    /// Stops the relay of a lease that was taken away, if there is one.
    pub(in crate::edge::relays) fn cancel(&self, lease_id: &str) {
        if let Some(relay) = self.relays.get(lease_id) {
            relay.stop.cancel();
        }
    }

    /// Stops all relays.
    pub(in crate::edge::relays) fn stop_all(&self) {
        for relay in self.relays.values() {
            relay.stop.cancel();
        }
    }

    /// Stops the relays that must not run any longer.
    pub(in crate::edge::relays) fn stop_overdue(&self, now: Instant) {
        let grace = self.is_unreachable.then_some(self.outage_grace);
        for (lease_id, relay) in &self.relays {
            let is_due = !relay.stop.is_cancelled() && now >= relay.lease.run_until(grace);
            if is_due && !relay.status().is_over() {
                tracing::warn!(
                    lease_id,
                    stream_id = relay.assignment.stream_id,
                    destination_id = relay.assignment.destination_id,
                    "stopping a relay whose lease was not renewed"
                );
                relay.stop.cancel();
            }
        }
    }

    /// Whether there are no relays, nor ended ones to report.
    pub(in crate::edge::relays) fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    /// Whether no relay runs.
    pub(in crate::edge::relays) fn all_over(&self) -> bool {
        self.relays.values().all(|relay| relay.status().is_over())
    }

    /// Removes the running relay with the same assignment.
    fn take_running(&mut self, assignment: &Assignment) -> Option<AssignedRelay> {
        let is_running = |relay: &AssignedRelay| {
            relay.assignment.is_same_as(assignment)
                && !relay.stop.is_cancelled()
                && !relay.status().is_over()
        };
        let found = self.relays.iter().find(|(_, relay)| is_running(relay));
        let lease_id = found?.0.clone();
        self.relays.remove(&lease_id)
    }

    /// Stops the relays to the same destination.
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

impl AssignedRelay {
    /// Its current status. A relay whose task is gone without an end has crashed.
    pub(super) fn status(&self) -> RelayStatus {
        let status = self.status.borrow().clone();
        let is_gone = self.status.has_changed().is_err();
        match is_gone && !status.is_over() {
            true => RelayStatus::ended(Some(diagnosis::crashed())),
            false => status,
        }
    }
}
