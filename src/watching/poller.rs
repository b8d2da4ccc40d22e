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
    Hub,
    feed::{Feed, KEPT},
};
use crate::{database::Database, domain::ProjectId, error::Result, repositories::Events};

/// How many feeds are filled at once.
const FILLED: usize = 200;

/// Fills the feeds of a hub: the one task that looks for news.
#[derive(Debug)]
pub struct Lookout {
    hub: Hub,
    events: Events,
    hints: Receiver<ProjectId>,
}

/// Where to look.
enum Look {
    /// At these projects.
    At(HashSet<ProjectId>),
    /// At all that are watched.
    Everywhere,
}

impl Lookout {
    /// A lookout for changes in this database.
    pub fn new(hub: Hub, database: &Database) -> Self {
        Self {
            hub,
            hints: database.hints().all(),
            events: Events::new(database.clone()),
        }
    }

    /// Looks at each hint, and everywhere in this interval; never returns.
    pub async fn run(mut self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answers = true;
        loop {
            let look = tokio::select! {
                look = hinted(&mut self.hints) => look,
                () = self.hub.until_missed() => Look::Everywhere,
                _ = ticks.tick() => Look::Everywhere,
            };
            let looked = self.look(look).await;
            if let (Err(error), true) = (&looked, answers) {
                let error = error.with_causes();
                tracing::warn!(error, "cannot look for what is watched");
            }
            answers = looked.is_ok();
        }
    }

    async fn look(&self, look: Look) -> Result<()> {
        let (feeds, is_hint) = match look {
            Look::At(ids) => (self.hub.feeds_of(ids), true),
            Look::Everywhere => (self.hub.feeds(), false),
        };
        if feeds.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = feeds.iter().map(|(id, _)| *id).collect();
        let heads: HashMap<_, _> = self.events.heads(&ids).await?.into_iter().collect();

        let mut moved = Vec::new();
        for (id, feed) in feeds {
            match (heads.get(&id), feed.revision()) {
                (None, _) => feed.gone(),
                (Some(head), 0) => feed.begin_at(*head),
                (Some(head), known) if *head > known => moved.push((id, feed, *head)),
                // Whoever keeps up has taken them by now.
                _ if !is_hint => feed.forget(),
                _ => {}
            }
        }
        self.fill(moved).await
    }

    /// Gives feeds what is new, some at a time, so that no statement is too long.
    async fn fill(&self, moved: Vec<(ProjectId, Arc<Feed>, i64)>) -> Result<()> {
        for some in moved.chunks(FILLED) {
            self.fill_some(some).await?;
        }
        Ok(())
    }

    async fn fill_some(&self, moved: &[(ProjectId, Arc<Feed>, i64)]) -> Result<()> {
        let seen: Vec<_> = moved
            .iter()
            .map(|(id, feed, head)| (*id, feed.revision().max(head - KEPT)))
            .collect();
        let mut news: HashMap<ProjectId, Vec<_>> = HashMap::new();
        for (id, event) in self.events.after_each(&seen).await? {
            news.entry(id).or_default().push(event);
        }
        for (id, feed, head) in moved {
            let events = news.remove(id).unwrap_or_default();
            let newest = events
                .last()
                .map_or(*head, |event| event.revision.max(*head));
            for event in events {
                feed.push(event);
            }
            feed.reach(newest);
        }
        Ok(())
    }
}

/// Waits for a hint, and takes those that wait with it.
async fn hinted(hints: &mut Receiver<ProjectId>) -> Look {
    let mut ids = HashSet::new();
    match hints.recv().await {
        Ok(id) => ids.insert(id),
        Err(RecvError::Lagged(_)) => return Look::Everywhere,
        // Only when the database is gone, and this with it.
        Err(RecvError::Closed) => std::future::pending().await,
    };
    loop {
        match hints.try_recv() {
            Ok(id) => ids.insert(id),
            Err(TryRecvError::Lagged(_)) => return Look::Everywhere,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Look::At(ids),
        };
    }
}
