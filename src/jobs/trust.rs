use std::time::Instant;

use chrono::TimeDelta;

use crate::{
    auth::Revocations,
    domain::{Time, now},
    error::Result,
    repositories::{Database, EndedTokens},
};

/// How far back each look goes: a transaction may commit a while after the time
/// that it wrote, and clocks differ.
const OVERLAP: TimeDelta = TimeDelta::seconds(30);

/// Keeps what each call is checked against as the database has it.
#[derive(Debug)]
pub struct Trust {
    ended: EndedTokens,
    revocations: Revocations,
    read: Option<Time>,
}

impl Trust {
    /// Keeps these revocations up to date.
    pub fn new(database: Database, revocations: Revocations) -> Self {
        Self {
            ended: EndedTokens::new(database),
            revocations,
            read: None,
        }
    }

    /// Looks once: the first time at everything, later at what is new.
    pub async fn refresh(&mut self) -> Result<()> {
        let (now, as_of) = (now(), Instant::now());
        let since = match self.read {
            Some(read) => read - OVERLAP,
            None => now - self.revocations.kept(),
        };

        let ended = self.ended.since(since).await?;

        self.revocations.update(ended, as_of);
        self.read = Some(now);
        Ok(())
    }
}
