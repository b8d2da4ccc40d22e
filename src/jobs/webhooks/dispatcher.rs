use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    time::{Interval, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    batch::{Batch, Delivery, LEASE},
    running::Running,
};
use crate::{
    auth::Sealer,
    backoff::Backoff,
    database::Database,
    domain::{ProjectId, WebhookId, WebhookLease, now},
    error::Result,
    repositories::{DueEvents, Events, WebhookQueue},
    telemetry::metrics::{JobRun, WEBHOOKS},
    webhooks::{EventWriter, WebhookSender},
};

/// The events of a project that are read at once.
const BATCH_SIZE: i64 = 16;

/// What is read at once of what can be sent.
const MAX_DUE: usize = 256;

/// The pause between two searches, in which changes are collected.
const COALESCE_DELAY: Duration = Duration::from_millis(10);

/// A search for all that can be sent takes at most this share of the time.
const MAX_SEARCH_SHARE: u32 = 20;

/// The polls after which it is checked whether there are still webhooks.
const CHECK_POLLS: u32 = 60;

/// How long a replica that stops waits for attempts that run.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How events are sent.
#[derive(Debug, Clone, Copy)]
pub struct WebhookDispatchSettings {
    /// The delays before an event is sent again.
    pub backoff: Backoff,
    /// The time after which a webhook is disabled if an event cannot be delivered.
    pub retry_period: Duration,
    /// The most projects whose events are sent at once.
    pub concurrency: usize,
    /// The interval at which what a missed notification leaves is found.
    pub poll_interval: Duration,
}

/// Sends the events of projects to webhooks.
#[derive(Debug)]
pub struct WebhookDispatcher {
    delivery: Arc<Delivery>,
    events: Events,
    changes: Receiver<ProjectId>,
    concurrency: usize,
    poll_interval: Duration,
}

/// Where there may be something to send.
#[derive(Debug, Default)]
struct Pending {
    /// Projects that have changed, or of which not all was sent.
    changed: HashSet<ProjectId>,
    /// Anywhere.
    all: bool,
}

/// What the dispatcher knows about the webhooks of the database.
#[derive(Debug)]
struct Known {
    /// Whether there are any: without them, notifications are ignored and a poll is one small read.
    has_webhooks: bool,
    polls: u32,
    /// Whether something could not be sent because there was no place for it.
    is_starved: bool,
    /// When all may be searched again: the database has to do other things too.
    next_search: Instant,
    is_reachable: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            has_webhooks: false,
            polls: 0,
            is_starved: false,
            next_search: Instant::now(),
            is_reachable: true,
        }
    }
}

impl WebhookDispatcher {
    /// A dispatcher for the webhooks of a database. It stops when `closing` is cancelled.
    pub fn new(
        database: &Database,
        queue: WebhookQueue,
        sealer: Sealer,
        sender: WebhookSender,
        writer: EventWriter,
        settings: WebhookDispatchSettings,
        closing: CancellationToken,
    ) -> Self {
        let WebhookDispatchSettings {
            backoff,
            retry_period,
            concurrency,
            poll_interval,
        } = settings;
        let delivery = Delivery {
            queue,
            sender,
            sealer,
            writer,
            backoff,
            retry_period,
            lease_id: Uuid::now_v7(),
            renewed_at: Mutex::new(Instant::now()),
            closing,
        };
        Self {
            delivery: Arc::new(delivery),
            events: Events::new(database.clone()),
            changes: database.change_notifications().subscribe(),
            concurrency,
            poll_interval,
        }
    }

    /// Sends events as they come, until it is to stop.
    ///
    /// Then it sends no further events, and gives back what it has leased, so that other replicas
    /// go on at once.
    pub async fn run(mut self) {
        let closing = self.delivery.closing.clone();
        let mut running = Running::new(self.concurrency);
        let mut polls = ticks(self.poll_interval);
        let mut renewals = ticks(LEASE / 3);
        let (mut known, mut pending) = (Known::default(), Pending::default());
        loop {
            let next_search = known.next_search();
            tokio::select! {
                () = closing.cancelled() => break,
                changed = self.changes.recv() => self.note_changes(changed, &mut pending),
                unsent = running.finished() => known.note_finished(unsent, &mut pending),
                _ = polls.tick() => pending.all = true,
                _ = renewals.tick(), if !running.is_empty() => self.renew().await,
                () = sleep_until(next_search), if !running.is_full() && pending.all => {}
            }
            while let Some(unsent) = running.try_finished() {
                known.note_finished(unsent, &mut pending);
            }
            if running.is_full() {
                continue;
            }
            let Some(changed) = known.take(&mut pending) else {
                continue;
            };
            let run = JobRun::start("webhooks");
            let searched = self.search(&mut running, changed, &mut known).await;
            known.report(&searched);
            run.finish(searched.is_ok());
            sleep(COALESCE_DELAY).await;
        }
        self.stop(running).await;
    }

    /// Waits for the attempts that run, which is short unless an endpoint hangs, and ends all leases.
    async fn stop(&self, mut running: Running) {
        // An answer that comes in time is recorded, so that its event is not sent again.
        let waited = timeout(STOP_TIMEOUT, running.all_finished()).await;
        if waited.is_err() {
            tracing::info!("stopped while endpoints of webhooks had not answered");
        }
        drop(running);
        let released = self.delivery.queue.release(self.delivery.lease_id).await;
        if let Err(error) = released {
            let error = error.with_causes();
            tracing::warn!(error, "cannot end the leases of webhooks: they expire");
        }
    }

    /// Notes a change, and those that are queued behind it.
    fn note_changes(&mut self, first: Result<ProjectId, RecvError>, pending: &mut Pending) {
        match first {
            Ok(id) => drop(pending.changed.insert(id)),
            Err(RecvError::Lagged(_) | RecvError::Closed) => pending.all = true,
        }
        loop {
            match self.changes.try_recv() {
                Ok(id) => drop(pending.changed.insert(id)),
                Err(TryRecvError::Lagged(_)) => pending.all = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Prolongs the leases. If that fails, what is sent ends before they do.
    async fn renew(&self) {
        let started_at = Instant::now();
        let now = now();
        let renewed = self
            .delivery
            .queue
            .renew(self.delivery.lease_id, now + LEASE, now)
            .await;
        match renewed {
            Ok(()) => *self.delivery.renewed_at.lock() = started_at,
            Err(error) => {
                let error = error.with_causes();
                tracing::warn!(error, "cannot renew the leases of webhooks");
            }
        }
    }

    /// Starts to send what can be sent, until there is no more or no place for it: only of projects
    /// that have changed, if they are given.
    async fn search(
        &self,
        running: &mut Running,
        changed: Option<Vec<ProjectId>>,
        known: &mut Known,
    ) -> Result<()> {
        if changed.is_none() && !self.check_webhooks(known).await? {
            return Ok(());
        }
        let (started_at, mut oldest) = (Instant::now(), Duration::ZERO);
        while !running.is_full() {
            let (busy, with_failing) = (running.busy(), running.accepts_failing());
            let changed = changed.as_deref();
            let due = self.due(changed, &busy, with_failing).await?;
            let chosen = running.choose(&due);
            let is_complete = busy.is_empty() && with_failing && chosen.len() == due.len();
            known.is_starved |= !is_complete;
            if chosen.is_empty() {
                break;
            }
            oldest = oldest.max(self.start(running, &chosen).await?);
            if due.len() < MAX_DUE && chosen.len() == due.len() {
                break;
            }
        }
        if changed.is_none() {
            WEBHOOKS.queue_age.set(oldest.as_secs_f64());
            known.next_search = Instant::now() + MAX_SEARCH_SHARE * started_at.elapsed();
        }
        Ok(())
    }

    /// Whether there are webhooks, as far as that is known.
    async fn check_webhooks(&self, known: &mut Known) -> Result<bool> {
        if !known.has_webhooks || known.polls >= CHECK_POLLS {
            known.has_webhooks = self.delivery.queue.has_webhooks().await?;
            known.polls = 0;
        }
        known.polls += 1;
        Ok(known.has_webhooks)
    }

    async fn due(
        &self,
        changed: Option<&[ProjectId]>,
        busy: &[WebhookId],
        with_failing: bool,
    ) -> Result<Vec<DueEvents>> {
        let limit = i64::try_from(MAX_DUE).unwrap_or(i64::MAX);
        let queue = &self.delivery.queue;
        queue.due(changed, busy, with_failing, limit, now()).await
    }

    /// Leases what was chosen, reads its events and starts to send them. Returns the age of the
    /// oldest of those that no failure has delayed.
    async fn start(&self, running: &mut Running, chosen: &[DueEvents]) -> Result<Duration> {
        let (leased_at, now) = (Instant::now(), now());
        let queue = &self.delivery.queue;
        let leases = queue
            .lease(chosen, self.delivery.lease_id, now + LEASE, now)
            .await?;
        let batches = self.read(chosen, leases, leased_at).await?;
        let mut oldest = Duration::ZERO;
        for (due, batch) in batches {
            if let (false, Some(time)) = (due.is_failing, batch.oldest()) {
                oldest = oldest.max((now - time).to_std().unwrap_or_default());
            }
            let delivery = Arc::clone(&self.delivery);
            running.start(&due, delivery.run(batch));
        }
        Ok(oldest)
    }

    /// Reads the events under leases.
    async fn read(
        &self,
        chosen: &[DueEvents],
        leases: Vec<WebhookLease>,
        leased_at: Instant,
    ) -> Result<Vec<(DueEvents, Batch)>> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let ids: HashSet<_> = leases.iter().map(|lease| lease.webhook_id).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let targets = self.delivery.queue.targets(&ids, now()).await?;
        let targets: HashMap<_, _> = targets
            .into_iter()
            .map(|target| (target.id, target))
            .collect();
        let after: Vec<_> = leases
            .iter()
            .map(|lease| (lease.project_id, lease.revision))
            .collect();
        let events = self.events.next(&after, BATCH_SIZE).await?;
        let due: HashMap<_, _> = chosen
            .iter()
            .map(|due| ((due.webhook_id, due.project_id), *due))
            .collect();
        let batches = leases
            .into_iter()
            .zip(events)
            .filter_map(|(lease, events)| {
                let due = *due.get(&(lease.webhook_id, lease.project_id))?;
                // `None` if the webhook was disabled meanwhile. Its lease expires.
                let target = targets.get(&lease.webhook_id)?.clone();
                let batch = Batch {
                    lease,
                    leased_at,
                    target,
                    head: due.head,
                    events,
                };
                Some((due, batch))
            });
        Ok(batches.collect())
    }
}

impl Known {
    /// Notes the end of a batch, and the project of which not all was sent. If there was no place
    /// for others, there is one now.
    fn note_finished(&mut self, unsent: Option<ProjectId>, pending: &mut Pending) {
        pending.changed.extend(unsent);
        pending.all |= std::mem::take(&mut self.is_starved);
    }

    /// When all may be searched again.
    fn next_search(&self) -> tokio::time::Instant {
        self.next_search.into()
    }

    /// Takes what is to be searched: all (`None`), or projects; nothing if there is nothing.
    fn take(&self, pending: &mut Pending) -> Option<Option<Vec<ProjectId>>> {
        if pending.all && Instant::now() >= self.next_search {
            *pending = Pending::default();
            return Some(None);
        }
        let changed = std::mem::take(&mut pending.changed);
        let is_wanted = self.has_webhooks && !changed.is_empty();
        is_wanted.then(|| Some(changed.into_iter().collect()))
    }

    /// Logs the first of several failures.
    fn report(&mut self, searched: &Result<()>) {
        if let (Err(error), true) = (searched, self.is_reachable) {
            let error = error.with_causes();
            tracing::warn!(error, "cannot read the events of webhooks");
        }
        self.is_reachable = searched.is_ok();
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
