use std::time::Instant;

use chrono::TimeDelta;

use super::KeyWatch;
use crate::{
    auth::{Keys, REVOCATIONS_KEPT, Revocations},
    database::Database,
    domain::{Time, now},
    error::Result,
    repositories::EndedTokens,
};

/// How far back each look goes: a transaction may commit a while after the time
/// that it wrote, and clocks differ.
const OVERLAP: TimeDelta = TimeDelta::seconds(30);

/// Keeps what each call is checked against as the database has it.
#[derive(Debug)]
pub struct Trust {
    keys: KeyWatch,
    ended: EndedTokens,
    revocations: Revocations,
    read: Option<Time>,
}

impl Trust {
    /// Keeps these rings of keys and these revocations up to date.
    pub fn new(database: Database, keys: Keys, revocations: Revocations) -> Self {
        Self {
            keys: KeyWatch::new(database.clone(), keys),
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
            None => now - REVOCATIONS_KEPT,
        };

        // First: who does not know a new key is not trusted either.
        self.keys.refresh().await?;
        let ended = self.ended.since(since).await?;

        self.revocations.update(ended, as_of);
        self.read = Some(now);
        Ok(())
    }
}
