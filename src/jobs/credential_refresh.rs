use std::time::Instant;

use crate::{
    auth::{Keys, REVOCATION_RETENTION, Revocations},
    database::Database,
    domain::{KeyRecord, now},
    error::{Error, Result},
    repositories::{KeyRecords, RevocationCursor, TokenRevocations},
};

/// Refreshes what the interceptor checks calls against: signing keys and revocations.
#[derive(Debug)]
pub struct CredentialRefresh {
    keys: KeyRefresh,
    table: TokenRevocations,
    revocations: Revocations,
    cursor: Option<RevocationCursor>,
}

impl CredentialRefresh {
    /// Refreshes these key rings and these revocations.
    pub fn new(database: Database, keys: Keys, revocations: Revocations) -> Self {
        Self {
            keys: KeyRefresh::new(database.clone(), keys),
            table: TokenRevocations::new(database),
            revocations,
            cursor: None,
        }
    }

    /// Refreshes once. The first time it reads all revocations, later only new ones.
    pub async fn refresh(&mut self) -> Result<()> {
        let read_at = Instant::now();
        // Keys first: a replica without a new key must not count as current either.
        self.keys.refresh().await?;
        let since = now() - REVOCATION_RETENTION;
        let revoked = self.table.read(since, &mut self.cursor).await?;

        self.revocations.update(revoked, read_at);
        Ok(())
    }
}

/// Refreshes the key rings from the database.
#[derive(Debug)]
pub struct KeyRefresh {
    records: KeyRecords,
    keys: Keys,
    loaded: Option<Vec<KeyRecord>>,
}

impl KeyRefresh {
    /// Refreshes these rings.
    pub fn new(database: Database, keys: Keys) -> Self {
        Self {
            records: KeyRecords::new(database),
            keys,
            loaded: None,
        }
    }

    /// Refreshes once. Fails if a key cannot be unwrapped; the first time also if the
    /// settings lack a root key that may be needed.
    pub async fn refresh(&mut self) -> Result<()> {
        let mut records = self.records.list().await?;
        if self.loaded.is_none() {
            records = self.register_root(records).await?;
        }
        if self.loaded.as_ref() == Some(&records) {
            return Ok(());
        }

        self.keys.update(&records).map_err(Error::internal)?;
        if self.loaded.replace(records).is_some() {
            tracing::info!(
                signs = self.keys.signing.active_key_id(),
                seals = %self.keys.sealer.active_key_id(),
                "key rings changed",
            );
        }
        Ok(())
    }

    /// Registers the root key before this process seals anything with it.
    async fn register_root(&self, records: Vec<KeyRecord>) -> Result<Vec<KeyRecord>> {
        let checked = self.keys.check_roots(&records, now());
        let usable = checked.and_then(|()| self.keys.update(&records));
        if let Err(error) = usable {
            self.keys.withdraw_generated(&records);
            return Err(Error::internal(error));
        }
        let root = self.keys.sealer.first_root_id();
        if self.keys.sealer.active_key_id() != root {
            return Ok(records);
        }

        self.records.register_root(&root.to_string(), now()).await?;
        // Another process may have registered another key at the same time.
        let records = self.records.list().await?;
        let checked = self.keys.check_roots(&records, now());
        checked.map_err(Error::internal)?;
        Ok(records)
    }
}
