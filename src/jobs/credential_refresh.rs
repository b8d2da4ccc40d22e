use std::time::Instant;

use chrono::TimeDelta;

use super::KeyRefresh;
use crate::{
    auth::{Keys, REVOCATION_RETENTION, Revocations},
    database::Database,
    domain::{Time, now},
    error::Result,
    repositories::TokenRevocations,
};

/// The overlap of two reads: a transaction can commit some time after the time that it
/// wrote, and clocks differ.
const READ_OVERLAP: TimeDelta = TimeDelta::seconds(30);

/// Refreshes what the interceptor checks calls against: signing keys and revocations.
#[derive(Debug)]
pub struct CredentialRefresh {
    keys: KeyRefresh,
    table: TokenRevocations,
    revocations: Revocations,
    last_read: Option<Time>,
}

impl CredentialRefresh {
    /// Refreshes these key rings and these revocations.
    pub fn new(database: Database, keys: Keys, revocations: Revocations) -> Self {
        Self {
            keys: KeyRefresh::new(database.clone(), keys),
            table: TokenRevocations::new(database),
            revocations,
            last_read: None,
        }
    }

    /// Refreshes once. The first time it reads all rows, later only new ones.
    pub async fn refresh(&mut self) -> Result<()> {
        let (now, read_at) = (now(), Instant::now());
        let since = match self.last_read {
            Some(read) => read - READ_OVERLAP,
            None => now - REVOCATION_RETENTION,
        };

        // Keys first: a replica without a new key must not count as current either.
        self.keys.refresh().await?;
        let revoked = self.table.since(since).await?;

        self.revocations.update(revoked, read_at);
        self.last_read = Some(now);
        Ok(())
    }
}
