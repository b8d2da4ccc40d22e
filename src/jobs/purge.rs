use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    domain::now,
    error::Result,
    repositories::{Database, IdempotencyKey, Projects, Sessions},
};

/// How long what has ended stays: media servers and people may still ask about it.
const KEPT: TimeDelta = TimeDelta::days(7);

/// How often to look.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Forgets what has ended long ago: sessions, deleted projects, request ids.
#[derive(Debug)]
pub struct Purge {
    database: Database,
}

impl Purge {
    /// A purge of this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Looks again and again; never returns.
    pub async fn run(self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.purge().await {
                tracing::warn!(error = error.with_causes(), "cannot purge");
            }
        }
    }

    async fn purge(&self) -> Result<()> {
        let before = now() - KEPT;
        let sessions = Sessions::new(self.database.clone()).purge(before).await?;
        let projects = Projects::new(self.database.clone()).purge(before).await?;
        let request_ids = IdempotencyKey::purge(&self.database, now()).await?;
        tracing::debug!(sessions, projects, request_ids, "purged");
        Ok(())
    }
}
