use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    database::Database, domain::now, error::Result, repositories::Events,
    telemetry::metrics::JobRun,
};

/// Events deleted by one statement, few enough not to block others.
const BATCH_SIZE: i64 = 500;

/// The longest interval between two runs.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// Deletes project events that are older than the retention.
#[derive(Debug)]
pub struct EventPruning {
    events: Events,
    retention: Duration,
}

impl EventPruning {
    /// Prunes the events of this database.
    pub fn new(database: Database, retention: Duration) -> Self {
        Self {
            events: Events::new(database),
            retention,
        }
    }

    /// Prunes periodically; never returns.
    pub async fn run(self) {
        let mut ticks = interval(MAX_INTERVAL.min(self.retention / 10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let run = JobRun::start("event_pruning");
            let pruned = self.prune().await;
            if let Err(error) = &pruned {
                let error = error.with_causes();
                tracing::warn!(error, "cannot prune events");
            }
            run.finish(pruned.is_ok());
        }
    }

    /// Deletes batches until none is left.
    async fn prune(&self) -> Result<()> {
        let before = now() - self.retention;
        while self.events.prune(before, BATCH_SIZE).await? > 0 {}
        Ok(())
    }
}
