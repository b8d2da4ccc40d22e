use std::{
    collections::{HashMap, HashSet},
    future::ready,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    time::{MissedTickBehavior, interval},
};

use super::{
    WatchHub,
    feed::{MAX_EVENTS, ProjectFeed},
};
use crate::{
    database::Database,
    domain::ProjectId,
    error::Result,
    repositories::{EventRange, Events},
};

/// Feeds that one statement fills.
const FEED_BATCH_SIZE: usize = 200;

/// Polls the events of watched projects and fills their feeds.
#[derive(Debug)]
pub struct EventPoller {
    hub: WatchHub,
    events: Events,
    changes: Receiver<ProjectId>,
}

impl EventPoller {
    /// A poller of this database for the watches of a hub.
    pub fn new(hub: WatchHub, database: &Database) -> Self {
        Self {
            hub,
            changes: database.change_notifications().subscribe(),
            events: Events::new(database.clone()),
        }
    }

    /// Polls changed projects at once, and all watched ones at this interval; never returns.
    pub async fn run(mut self, poll_interval: Duration) {
        let mut ticks = interval(poll_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_reachable = true;
        loop {
            let changed = tokio::select! {
                changed = collect_changes(&mut self.changes, ready(())) => changed,
                () = self.hub.full_poll_requested() => None,
                _ = ticks.tick() => None,
            };
            let polled = self.poll(changed).await;
            if let (Err(error), true) = (&polled, is_reachable) {
                tracing::warn!(error = error.with_causes(), "cannot poll watched projects");
            }
            is_reachable = polled.is_ok();
        }
    }

    /// Polls changed projects, if they are watched; without a list all watched ones.
    async fn poll(&self, changed: Option<HashSet<ProjectId>>) -> Result<()> {
        let is_partial = changed.is_some();
        let feeds = match changed {
            Some(ids) => self.hub.feeds_of(ids),
            None => self.hub.feeds(),
        };
        if feeds.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = feeds.iter().map(|(id, _)| *id).collect();
        let heads: HashMap<_, _> = self.events.heads(&ids).await?.into_iter().collect();

        let mut outdated = Vec::new();
        for (id, feed) in feeds {
            match (heads.get(&id), feed.revision()) {
                (None, _) => feed.set_gone(),
                (Some(head), 0) => feed.begin_at(*head),
                (Some(head), known) if *head > known => outdated.push((id, feed, *head)),
                // A watcher that keeps up has read the events by now.
                _ if !is_partial => feed.clear(),
                _ => {}
            }
        }
        // In batches, so that no statement is too long.
        for batch in outdated.chunks(FEED_BATCH_SIZE) {
            self.fill(batch).await?;
        }
        Ok(())
    }

    /// Adds new events to feeds.
    async fn fill(&self, feeds: &[(ProjectId, Arc<ProjectFeed>, i64)]) -> Result<()> {
        let unseen: Vec<_> = feeds
            .iter()
            .map(|(id, feed, head)| EventRange {
                project_id: *id,
                after: feed.revision().max(head - MAX_EVENTS),
                until: *head,
            })
            .collect();
        let mut new_events: HashMap<ProjectId, Vec<_>> = HashMap::new();
        for (id, event) in self.events.within(&unseen).await? {
            new_events.entry(id).or_default().push(event);
        }
        for (id, feed, head) in feeds {
            for event in new_events.remove(id).unwrap_or_default() {
                feed.push(event);
            }
            feed.advance_to(*head);
        }
        Ok(())
    }
}

/// Change notifications that were waited for.
#[derive(Debug)]
pub(crate) struct CollectedChanges {
    /// The projects that have changed.
    pub ids: HashSet<ProjectId>,
    /// The number of further notifications that were missed.
    pub missed: u64,
}

/// Waits for a change notification and then for `delay`, and takes all that are queued by then;
/// `None` if some were missed.
pub(crate) async fn collect_changes(
    changes: &mut Receiver<ProjectId>,
    delay: impl Future<Output = ()>,
) -> Option<HashSet<ProjectId>> {
    let CollectedChanges { ids, missed } = collect_all_changes(changes, delay).await;
    (missed == 0).then_some(ids)
}

/// The same, with the number of those that were missed.
pub(crate) async fn collect_all_changes(
    changes: &mut Receiver<ProjectId>,
    delay: impl Future<Output = ()>,
) -> CollectedChanges {
    let mut collected = CollectedChanges {
        ids: HashSet::new(),
        missed: 0,
    };
    match changes.recv().await {
        Ok(id) => drop(collected.ids.insert(id)),
        Err(RecvError::Lagged(missed)) => collected.missed += missed,
        // Only when the database handle is dropped, and this task with it.
        Err(RecvError::Closed) => std::future::pending().await,
    }
    delay.await;
    loop {
        match changes.try_recv() {
            Ok(id) => drop(collected.ids.insert(id)),
            Err(TryRecvError::Lagged(missed)) => collected.missed += missed,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return collected,
        }
    }
}
