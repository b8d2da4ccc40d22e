use crate::{
    auth::{Keys, LoadKeysError},
    database::Database,
    domain::{KeyRecord, now},
    error::{Error, Result},
    repositories::KeyRecords,
};

/// Keeps the rings of keys as the database has them.
#[derive(Debug)]
pub struct KeyWatch {
    records: KeyRecords,
    keys: Keys,
    seen: Option<Vec<KeyRecord>>,
}

impl KeyWatch {
    /// Keeps these rings up to date.
    pub fn new(database: Database, keys: Keys) -> Self {
        Self {
            records: KeyRecords::new(database),
            keys,
            seen: None,
        }
    }

    /// Looks once. Fails if there is a key that cannot be opened; the first time
    /// also if the settings lack one that may be needed.
    pub async fn refresh(&mut self) -> Result<()> {
        let mut records = self.records.list().await?;
        if self.seen.is_none() {
            records = self.check(records).await?;
        }
        if self.seen.as_ref() == Some(&records) {
            return Ok(());
        }

        self.keys.update(&records).map_err(refused)?;
        if self.seen.replace(records).is_some() {
            tracing::info!(
                signs = self.keys.signing.signing_key(),
                seals = %self.keys.sealer.sealing_key(),
                "the rings of keys changed",
            );
        }
        Ok(())
    }

    /// Before this process seals anything, its key must be known to be needed.
    async fn check(&self, records: Vec<KeyRecord>) -> Result<Vec<KeyRecord>> {
        self.keys.check_roots(&records, now()).map_err(refused)?;
        self.keys.update(&records).map_err(refused)?;
        let root = self.keys.sealer.first_root();
        if self.keys.sealer.sealing_key() != root {
            return Ok(records);
        }

        self.records.register_root(&root.to_string(), now()).await?;
        // Another process may have come with another key at the same moment.
        let records = self.records.list().await?;
        self.keys.check_roots(&records, now()).map_err(refused)?;
        Ok(records)
    }
}

fn refused(fault: LoadKeysError) -> Error {
    Error::internal(fault)
}
