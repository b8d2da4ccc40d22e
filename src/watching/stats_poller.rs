use std::time::Duration;

use super::{WatchHub, polling::poll_at};
use crate::{database::Database, error::Result, repositories::Streams};

/// How often statistics are read and sent.
const STATS_INTERVAL: Duration = Duration::from_secs(3);

/// The projects whose statistics are read together.
const STATS_BATCH_SIZE: usize = 200;

/// Polls the statistics of the watched projects for which a watch wants them: two statements
/// for 200 projects, however many watches there are.
#[derive(Debug)]
pub struct StatsPoller {
    hub: WatchHub,
    streams: Streams,
}

impl StatsPoller {
    /// A poller of this database for the watches of a hub.
    pub fn new(hub: WatchHub, database: &Database) -> Self {
        Self {
            hub,
            streams: Streams::new(database.clone()),
        }
    }

    /// Polls every few seconds; never returns.
    pub async fn run(self) {
        poll_at(STATS_INTERVAL, "statistics of watched projects", || {
            self.poll()
        })
        .await;
    }

    async fn poll(&self) -> Result<()> {
        let feeds = self.hub.feeds_that_want(|options| options.stats);
        let ids: Vec<_> = feeds.keys().copied().collect();
        for ids in ids.chunks(STATS_BATCH_SIZE) {
            let mut live = self.streams.live(ids).await?;
            for id in ids {
                if let Some(feed) = feeds.get(id) {
                    feed.set_stats(live.remove(id));
                }
            }
        }
        Ok(())
    }
}
