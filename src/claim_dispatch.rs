//! Wakes the ClaimRelays calls of this replica whose worker has something to claim or to return.
//!
//! One task does for all workers what each would do for itself. When a project changes, one small
//! read finds the media servers at which relays of changed projects can be claimed now; only
//! workers there look. Each second two more reads find what has no notification or lost it: relays
//! whose retry is due, and changes of the projects of which a worker has relays. So a waiting
//! worker costs a few index look-ups a second, and no statement of its own.
//!
//! Where several workers can claim, the one with the most free capacity is woken, so that load is
//! spread; once it is full, it passes the news on. Full workers are not woken.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    database::Database,
    domain::{ProjectId, now},
    error::Result,
    repositories::{ClaimingWorker, Events, RelayLeases},
    watching::collect_changes,
};

/// How often everything is read, in case a change notification was missed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The time for which change notifications are collected for one read.
const COALESCE_DELAY: Duration = Duration::from_millis(20);

/// The most projects or media servers in one statement.
const BATCH_SIZE: usize = 1000;

/// The workers of this replica that claim relays. A clone shares them.
#[derive(Debug, Clone)]
pub struct ClaimDispatch {
    database: Database,
    relay_leases: RelayLeases,
    events: Events,
    workers: Arc<Mutex<HashMap<u64, WaitingWorker>>>,
    /// Wakes a task that depends on the media servers and the projects of the workers.
    workers_changed: Arc<Notify>,
    newest: Arc<AtomicU64>,
    /// The newest known revisions of the projects of which workers have relays.
    revisions: Arc<Mutex<HashMap<ProjectId, i64>>>,
}

#[derive(Debug)]
struct WaitingWorker {
    worker_id: String,
    /// The media server for which it claims relays; empty means any.
    node_id: String,
    /// What it can run at once.
    capacity: i64,
    /// What its relays take of that.
    used: i64,
    /// The projects of its relays.
    projects: HashSet<ProjectId>,
    wake: Arc<Wake>,
}

#[derive(Debug, Default)]
struct Wake {
    claimable: AtomicBool,
    leases: AtomicBool,
    is_replaced: AtomicBool,
    notify: Notify,
}

/// What a worker has to look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimNews {
    /// There may be a relay that it can claim.
    pub claimable: bool,
    /// Its leases may have changed.
    pub leases: bool,
}

/// Wakes one worker, for as long as it is connected.
#[derive(Debug)]
pub struct ClaimWaker {
    number: u64,
    dispatch: ClaimDispatch,
    wake: Arc<Wake>,
}

impl ClaimDispatch {
    /// A dispatch of the relays in a database, without workers.
    pub fn new(database: Database, relay_leases: RelayLeases) -> Self {
        Self {
            events: Events::new(database.clone()),
            database,
            relay_leases,
            workers: Arc::default(),
            workers_changed: Arc::default(),
            newest: Arc::default(),
            revisions: Arc::default(),
        }
    }

    /// Adds a worker until its waker is dropped.
    pub fn add(&self, worker: &ClaimingWorker) -> ClaimWaker {
        let number = self.newest.fetch_add(1, Ordering::Relaxed);
        let wake = Arc::<Wake>::default();
        let worker = WaitingWorker {
            worker_id: worker.worker_id.clone(),
            node_id: worker.node_id.clone(),
            capacity: worker.capacity,
            used: 0,
            projects: HashSet::new(),
            wake: Arc::clone(&wake),
        };
        self.workers.lock().insert(number, worker);
        self.workers_changed.notify_one();
        ClaimWaker {
            number,
            dispatch: self.clone(),
            wake,
        }
    }

    /// Tells the calls of a worker that another one has taken its place: what its leases leave is not
    /// for them.
    pub fn replace(&self, worker_id: &str) {
        let workers = self.workers.lock();
        for worker in workers.values().filter(|one| one.worker_id == worker_id) {
            worker.wake.is_replaced.store(true, Ordering::Relaxed);
        }
    }

    /// Wakes workers; never returns.
    pub async fn run(self) {
        let mut changes = self.database.change_notifications().subscribe();
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_reachable = true;
        loop {
            let changed = tokio::select! {
                // A poll of everything covers what it drops.
                _ = ticks.tick() => None,
                changed = collect_changes(&mut changes, sleep(COALESCE_DELAY)) => changed,
            };
            let polled = match changed {
                _ if self.workers.lock().is_empty() => Ok(()),
                Some(ids) => self.report_changed(&ids).await,
                None => self.poll().await,
            };
            if let Err(error) = &polled {
                if is_reachable {
                    let error = error.with_causes();
                    tracing::warn!(error, "cannot read which relays can be claimed");
                }
                // Their own reads find that the database is unavailable, and end their calls.
                self.wake_all();
            }
            is_reachable = polled.is_ok();
        }
    }

    /// Wakes the workers that have or can claim relays of these projects.
    async fn report_changed(&self, ids: &HashSet<ProjectId>) -> Result<()> {
        self.wake_leases(ids);
        let ids: Vec<_> = ids.iter().copied().collect();
        for ids in ids.chunks(BATCH_SIZE) {
            let nodes = self.relay_leases.claimable_nodes_of(ids, now()).await?;
            self.wake_nodes(&nodes);
        }
        Ok(())
    }

    /// Wakes all workers for which anything has changed.
    async fn poll(&self) -> Result<()> {
        let (nodes, has_unbound) = self.nodes();
        for nodes in nodes.chunks(BATCH_SIZE) {
            let claimable = self.relay_leases.claimable_nodes(nodes, now()).await?;
            self.wake_nodes(&claimable);
        }
        if has_unbound {
            // Its claim is a read that ends at the first relay.
            self.wake_node("");
        }
        let leased = self.leased_projects();
        let mut heads = HashMap::with_capacity(leased.len());
        for ids in leased.chunks(BATCH_SIZE) {
            heads.extend(self.events.heads(ids).await?);
        }
        let known = std::mem::replace(&mut *self.revisions.lock(), heads.clone());
        let changed = leased
            .into_iter()
            .filter(|id| heads.get(id).is_none_or(|head| known.get(id) != Some(head)));
        self.wake_leases(&changed.collect());
        Ok(())
    }

    /// Waits until the media servers or the projects of workers may have changed since the last call.
    /// Only one task can wait.
    pub(crate) async fn workers_changed(&self) {
        self.workers_changed.notified().await;
    }

    /// The media servers of the workers, and whether there is a worker of any media server.
    pub(crate) fn nodes(&self) -> (Vec<String>, bool) {
        let workers = self.workers.lock();
        let nodes: HashSet<_> = workers.values().map(|worker| &*worker.node_id).collect();
        let bound = nodes.iter().filter(|node_id| !node_id.is_empty());
        let bound = bound.map(|node_id| (*node_id).to_owned()).collect();
        (bound, nodes.contains(""))
    }

    /// The projects of which workers have relays.
    pub(crate) fn leased_projects(&self) -> Vec<ProjectId> {
        let workers = self.workers.lock();
        let projects = workers.values().flat_map(|worker| &worker.projects);
        let projects: HashSet<_> = projects.copied().collect();
        projects.into_iter().collect()
    }

    /// Wakes the workers that have relays of these projects.
    fn wake_leases(&self, ids: &HashSet<ProjectId>) {
        for worker in self.workers.lock().values() {
            if !worker.projects.is_disjoint(ids) {
                worker.wake.report(ClaimNews::LEASES);
            }
        }
    }

    /// Wakes for each of these media servers the worker with the most free capacity of those that
    /// can claim relays there.
    fn wake_nodes(&self, nodes: &[String]) {
        if nodes.is_empty() {
            return;
        }
        let workers = self.workers.lock();
        let mut freest: HashMap<&str, &WaitingWorker> = HashMap::new();
        for worker in workers.values().filter(|worker| worker.is_free()) {
            let known = freest.entry(&worker.node_id).or_insert(worker);
            if known.free() < worker.free() {
                *known = worker;
            }
        }
        for node_id in nodes {
            let able = [freest.get(node_id.as_str()), freest.get("")];
            if let Some(worker) = able.into_iter().flatten().max_by_key(|one| one.free()) {
                worker.wake.report(ClaimNews::CLAIMABLE);
            }
        }
    }

    /// The same for one media server; empty means any, and wakes a worker of any.
    pub(crate) fn wake_node(&self, node_id: &str) {
        self.wake_nodes(&[node_id.to_owned()]);
    }

    fn wake_all(&self) {
        for worker in self.workers.lock().values() {
            worker.wake.report(ClaimNews::ALL);
        }
    }
}

impl WaitingWorker {
    /// What is left of its capacity.
    fn free(&self) -> i64 {
        self.capacity - self.used
    }

    /// Whether it can claim.
    fn is_free(&self) -> bool {
        self.free() > 0 && !self.wake.is_replaced.load(Ordering::Relaxed)
    }
}

impl ClaimNews {
    /// There may be a relay to claim.
    const CLAIMABLE: Self = Self {
        claimable: true,
        leases: false,
    };

    /// The leases may have changed.
    const LEASES: Self = Self {
        claimable: false,
        leases: true,
    };

    /// Everything may have changed.
    pub const ALL: Self = Self {
        claimable: true,
        leases: true,
    };
}

impl Wake {
    fn report(&self, news: ClaimNews) {
        self.claimable.fetch_or(news.claimable, Ordering::Relaxed);
        self.leases.fetch_or(news.leases, Ordering::Relaxed);
        self.notify.notify_one();
    }
}

impl ClaimWaker {
    /// Waits for news.
    pub async fn woken(&self) {
        self.wake.notify.notified().await;
    }

    /// Takes the news since the last call.
    pub fn take_news(&self) -> ClaimNews {
        ClaimNews {
            claimable: self.wake.claimable.swap(false, Ordering::Relaxed),
            leases: self.wake.leases.swap(false, Ordering::Relaxed),
        }
    }

    /// Whether another worker has taken its place.
    pub fn is_replaced(&self) -> bool {
        self.wake.is_replaced.load(Ordering::Relaxed)
    }

    /// Wakes another worker instead: this one is full, and there may be more to claim.
    pub fn pass_on(&self) {
        let workers = self.dispatch.workers.lock();
        let node_id = workers.get(&self.number).map(|one| one.node_id.clone());
        drop(workers);
        self.dispatch.wake_node(&node_id.unwrap_or_default());
    }

    /// Sets the projects of the worker's relays, and what these take of its capacity.
    pub fn set_leases(&self, projects: HashSet<ProjectId>, used: i64) {
        let mut workers = self.dispatch.workers.lock();
        let Some(worker) = workers.get_mut(&self.number) else {
            return;
        };
        // They may have changed since the leases were read: the next poll wakes the worker.
        let mut revisions = self.dispatch.revisions.lock();
        for id in projects.difference(&worker.projects) {
            revisions.remove(id);
        }
        worker.projects = projects;
        worker.used = used;
        self.dispatch.workers_changed.notify_one();
    }
}

impl Drop for ClaimWaker {
    fn drop(&mut self) {
        self.dispatch.workers.lock().remove(&self.number);
        self.dispatch.workers_changed.notify_one();
    }
}
