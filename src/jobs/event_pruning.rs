use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    database::Database, domain::now, error::Result, repositories::Events, telemetry::metrics,
};

/// How many events one statement takes, so that it does not hold up others.
const BATCH: i64 = 500;

/// How often to look at least.
const EVERY: Duration = Duration::from_secs(60);

/// Forgets the events of projects that are older than they are kept.
#[derive(Debug)]
pub struct EventPruning {
    events: Events,
    retention: Duration,
}

impl EventPruning {
    /// A pruning of this database, which keeps events for so long.
    pub fn new(database: Database, retention: Duration) -> Self {
        Self {
            events: Events::new(database),
            retention,
        }
    }

    /// Looks again and again; never returns.
    pub async fn run(self) {
        let mut ticks = interval(EVERY.min(self.retention / 10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let run = metrics::job("event_pruning");
            let pruned = self.prune().await;
            if let Err(error) = &pruned {
                let error = error.with_causes();
                tracing::warn!(error, "cannot prune events");
            }
            run.over(pruned.is_ok());
        }
    }

    /// Batch by batch until nothing is left.
    async fn prune(&self) -> Result<()> {
        let before = now() - self.retention;
        while self.events.prune(before, BATCH).await? > 0 {}
        Ok(())
    }
}
