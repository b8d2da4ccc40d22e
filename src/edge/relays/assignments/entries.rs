use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    edge::relays::{assignment::Work, diagnosis, lease_clock::Standing, status::Seen},
    proto::v1::{RelayAssignment, RelayState},
};

/// The relays of a worker, each under its lease.
#[derive(Debug)]
pub(in crate::edge::relays) struct Roster {
    pub(super) entries: HashMap<String, Entry>,
    /// For how long relays go on while the control plane is away.
    outage_grace: Duration,
    /// Whether the last report was not answered.
    pub(super) is_away: bool,
}

/// A relay, and its lease.
#[derive(Debug)]
pub(super) struct Entry {
    work: Work,
    pub(super) standing: Standing,
    pub(super) stop: CancellationToken,
    seen: watch::Receiver<Seen>,
}

/// A relay that is to be run.
#[derive(Debug)]
pub(in crate::edge::relays) struct Start {
    /// What it is to do.
    pub(in crate::edge::relays) work: Work,
    /// Says when it is to stop.
    pub(in crate::edge::relays) stop: CancellationToken,
    /// Where it tells what is seen of it.
    pub(in crate::edge::relays) seen: watch::Sender<Seen>,
    /// Relays to the same destination: it must not begin before these are over.
    pub(in crate::edge::relays) after: Vec<watch::Receiver<Seen>>,
}

impl Roster {
    /// Nothing runs yet.
    pub(in crate::edge::relays) fn new(outage_grace: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            outage_grace,
            is_away: false,
        }
    }

    /// Takes a relay on: gives what is to be run, unless it runs already and goes on
    /// under the new lease. Others to the same destination are stopped.
    pub(in crate::edge::relays) fn assign(
        &mut self,
        assignment: RelayAssignment,
        now: Instant,
    ) -> Option<Start> {
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
    pub(in crate::edge::relays) fn revoke(&mut self, lease_id: &str) {
        if let Some(entry) = self.entries.get(lease_id) {
            entry.stop.cancel();
        }
    }

    /// Stops all.
    pub(in crate::edge::relays) fn stop(&self) {
        for entry in self.entries.values() {
            entry.stop.cancel();
        }
    }

    /// Stops those that must not run any longer.
    pub(in crate::edge::relays) fn stop_overdue(&self, now: Instant) {
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

    /// Whether there is nothing, nor anything to be told.
    pub(in crate::edge::relays) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether nothing runs.
    pub(in crate::edge::relays) fn is_over(&self) -> bool {
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
    /// What is seen of it now.
    pub(super) fn seen(&self) -> Seen {
        let seen = self.seen.borrow().clone();
        let is_gone = self.seen.has_changed().is_err();
        match is_gone && !seen.is_over() {
            true => Seen::ended(Some(diagnosis::of_crash())),
            false => seen,
        }
    }
}
