use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;

use super::{WatchHub, look_back::LookBack, polling::poll_at};
use crate::{
    database::Database,
    domain::{ProjectId, Refusal},
    error::Result,
    repositories::Refusals,
};

/// How long before its transaction begins the time of a refused publish can be. A new watch begins
/// with those of this time.
const MARGIN: TimeDelta = TimeDelta::minutes(1);

/// Polls the refused publishes of watched projects, with one statement for all.
///
/// They have no revision, and ids of several replicas are not in the order in which they become
/// visible. Each poll therefore reads those of the last minute, and of the time since the oldest
/// transaction that runs. The feeds drop known ones.
#[derive(Debug)]
pub struct RefusalPoller {
    hub: WatchHub,
    refusals: Refusals,
    recent: LookBack,
}

impl RefusalPoller {
    /// A poller of this database for the watches of a hub.
    pub fn new(hub: WatchHub, database: &Database) -> Self {
        Self {
            hub,
            refusals: Refusals::new(database.clone()),
            recent: LookBack::new(database, MARGIN),
        }
    }

    /// Polls at this interval; never returns.
    pub async fn run(self, poll_interval: Duration) {
        poll_at(
            poll_interval,
            "refused publishes of watched projects",
            || self.poll(),
        )
        .await;
    }

    async fn poll(&self) -> Result<()> {
        let feeds = self.hub.feeds_that_want(|options| options.refusals);
        if feeds.is_empty() {
            self.recent.skip();
            return Ok(());
        }
        let ids: Vec<_> = feeds.keys().copied().collect();
        let mut recent: HashMap<ProjectId, Vec<Refusal>> = HashMap::new();
        let read = async |since| self.refusals.after(&ids, since).await;
        for (id, refusal) in self.recent.read(read).await? {
            recent.entry(id).or_default().push(refusal);
        }
        for (id, feed) in feeds {
            feed.set_refusals(recent.remove(&id).unwrap_or_default());
        }
        Ok(())
    }
}
