//! Hands checks of destinations to the connected relay workers.
//!
//! While a worker of this replica takes checks, one small read every half second finds those
//! that wait, however many workers there are. A check that this replica creates is found at
//! once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use crate::{
    database::Database,
    domain::now,
    error::Result,
    repositories::{DestinationChecks, StoredCheck},
};

/// How often waiting checks are read.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The most checks that wait for one worker to be sent.
const QUEUE_LENGTH: usize = 16;

/// The workers of this replica that take checks. A clone shares them.
#[derive(Debug, Clone)]
pub struct CheckDispatch {
    checks: DestinationChecks,
    workers: Arc<Mutex<HashMap<u64, CheckingWorker>>>,
    newest: Arc<AtomicU64>,
    wake: Arc<Notify>,
}

#[derive(Debug, Clone)]
struct CheckingWorker {
    worker_id: String,
    /// The media server for which it claims relays; empty means any.
    node_id: String,
    queue: mpsc::Sender<StoredCheck>,
}

/// The checks for one worker, for as long as it is connected.
#[derive(Debug)]
pub struct CheckQueue {
    number: u64,
    dispatch: CheckDispatch,
    queue: mpsc::Receiver<StoredCheck>,
}

impl CheckDispatch {
    /// A dispatch of the checks in a database, without workers.
    pub fn new(database: Database) -> Self {
        Self {
            checks: DestinationChecks::new(database),
            workers: Arc::default(),
            newest: Arc::default(),
            wake: Arc::default(),
        }
    }

    /// Adds a worker, until its queue is dropped.
    pub fn add(&self, worker_id: &str, node_id: &str) -> CheckQueue {
        let (sender, queue) = mpsc::channel(QUEUE_LENGTH);
        let number = self.newest.fetch_add(1, Ordering::Relaxed);
        let worker = CheckingWorker {
            worker_id: worker_id.to_owned(),
            node_id: node_id.to_owned(),
            queue: sender,
        };
        self.workers.lock().insert(number, worker);
        self.wake.notify_one();
        CheckQueue {
            number,
            dispatch: self.clone(),
            queue,
        }
    }

    /// A check was created.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Hands out checks; never returns.
    pub async fn run(self) {
        loop {
            if !self.workers.lock().is_empty()
                && let Err(error) = self.hand_out().await
            {
                let error = error.with_causes();
                tracing::warn!(error, "cannot read the destinations to check");
            }
            let _ = timeout(POLL_INTERVAL, self.wake.notified()).await;
        }
    }

    async fn hand_out(&self) -> Result<()> {
        let now = now();
        for check in self.checks.waiting(now).await? {
            let Some(worker) = self.worker_for(&check) else {
                continue;
            };
            // Taken before the claim: a claimed check must be sent.
            let Ok(place) = worker.queue.try_reserve() else {
                continue;
            };
            let (worker_id, node_id) = (&worker.worker_id, &worker.node_id);
            if self.checks.claim(check.id, worker_id, node_id, now).await? {
                place.send(check);
            }
        }
        Ok(())
    }

    /// A worker beside the media server of the check, or any one: that with the most room.
    fn worker_for(&self, check: &StoredCheck) -> Option<CheckingWorker> {
        let workers = self.workers.lock();
        let able = workers.values().filter(|worker| {
            [&worker.node_id, &check.node_id]
                .iter()
                .any(|node_id| node_id.is_empty())
                || worker.node_id == check.node_id
        });
        able.max_by_key(|worker| worker.queue.capacity()).cloned()
    }
}

impl CheckQueue {
    /// The next check.
    pub async fn next(&mut self) -> StoredCheck {
        match self.queue.recv().await {
            Some(check) => check,
            // The sender is dropped together with this.
            None => std::future::pending().await,
        }
    }
}

impl Drop for CheckQueue {
    fn drop(&mut self) {
        self.dispatch.workers.lock().remove(&self.number);
    }
}
