use std::{
    collections::{HashMap, HashSet},
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
use crate::{database::Database, domain::ProjectId, error::Result, repositories::Events};

/// Feeds that one statement fills.
const FEED_BATCH_SIZE: usize = 200;

/// Polls the events of watched projects and fills their feeds.
#[derive(Debug)]
pub struct EventPoller {
    hub: WatchHub,
    events: Events,
    changes: Receiver<ProjectId>,
}

/// The projects of one poll.
enum PollScope {
    /// These projects, if they are watched.
    Changed(HashSet<ProjectId>),
    /// All watched projects.
    All,
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
            let scope = tokio::select! {
                scope = changed(&mut self.changes) => scope,
                () = self.hub.full_poll_requested() => PollScope::All,
                _ = ticks.tick() => PollScope::All,
            };
            let polled = self.poll(scope).await;
            if let (Err(error), true) = (&polled, is_reachable) {
                let error = error.with_causes();
                tracing::warn!(error, "cannot poll watched projects");
            }
            is_reachable = polled.is_ok();
        }
    }

    async fn poll(&self, scope: PollScope) -> Result<()> {
        let (feeds, is_partial) = match scope {
            PollScope::Changed(ids) => (self.hub.feeds_of(ids), true),
            PollScope::All => (self.hub.feeds(), false),
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
        let known: Vec<_> = feeds
            .iter()
            .map(|(id, feed, head)| (*id, feed.revision().max(head - MAX_EVENTS)))
            .collect();
        let mut new_events: HashMap<ProjectId, Vec<_>> = HashMap::new();
        for (id, event) in self.events.after_each(&known).await? {
            new_events.entry(id).or_default().push(event);
        }
        for (id, feed, head) in feeds {
            let events = new_events.remove(id).unwrap_or_default();
            let newest = events
                .last()
                .map_or(*head, |event| event.revision.max(*head));
            for event in events {
                feed.push(event);
            }
            feed.advance_to(newest);
        }
        Ok(())
    }
}

/// Waits for a change notification, and takes all that are queued.
async fn changed(changes: &mut Receiver<ProjectId>) -> PollScope {
    let mut ids = HashSet::new();
    match changes.recv().await {
        Ok(id) => ids.insert(id),
        Err(RecvError::Lagged(_)) => return PollScope::All,
        // Only when the database handle is dropped, and this task with it.
        Err(RecvError::Closed) => std::future::pending().await,
    };
    loop {
        match changes.try_recv() {
            Ok(id) => ids.insert(id),
            Err(TryRecvError::Lagged(_)) => return PollScope::All,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return PollScope::Changed(ids),
        };
    }
}
