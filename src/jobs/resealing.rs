use std::time::Instant;

use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    auth::{AssociatedData, Keys},
    database::Database,
    error::{Error, Result},
    repositories::{KeyRecords, SealedColumn, SealedValue},
};

/// Rows read at once.
const BATCH_SIZE: i64 = 200;

/// Reseals values that an earlier key sealed with the active key. It changes only the
/// sealed column of a row. A concurrent change of the value wins.
#[derive(Debug)]
pub struct Resealing {
    database: Database,
    keys: Keys,
}

/// The counts of one pass through a column.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ResealCounts {
    /// Values that an earlier key sealed.
    pub found: u64,
    /// Values among these that cannot be opened.
    pub unreadable: u64,
}

impl Resealing {
    /// Reseals values of this database.
    pub fn new(database: Database, keys: Keys) -> Self {
        Self { database, keys }
    }

    /// Reseals a column once.
    pub async fn reseal_column(&self, column: SealedColumn) -> Result<ResealCounts> {
        let key = self.keys.sealer.active_key_id();
        let mut counts = ResealCounts::default();
        let mut after = Uuid::nil();
        loop {
            let started_at = Instant::now();
            let values =
                column.list_not_sealed_under(&self.database, key.bytes(), after, BATCH_SIZE);
            let values = values.await?;
            let Some(last) = values.last() else {
                return Ok(counts);
            };
            after = last.id;
            for value in &values {
                counts.found += 1;
                if !self.reseal_value(column, value).await? {
                    counts.unreadable += 1;
                }
            }
            // Leaves the database to calls for half of the time.
            sleep(started_at.elapsed()).await;
        }
    }

    /// Rewraps the database keys with the first root key.
    pub async fn rewrap_keys(&self) -> Result<()> {
        let records = KeyRecords::new(self.database.clone());
        for record in records.list().await? {
            let rewrapped = self.keys.rewrap(&record).map_err(Error::internal)?;
            if let Some(rewrapped) = rewrapped {
                records.rewrap(&record, &rewrapped).await?;
            }
        }
        Ok(())
    }

    async fn reseal_value(&self, column: SealedColumn, value: &SealedValue) -> Result<bool> {
        let aad = match column {
            SealedColumn::StreamKeys => AssociatedData::stream_key(value.id.into()),
            SealedColumn::DestinationKeys => AssociatedData::destination_key(value.id.into()),
            SealedColumn::RefreshSeeds => AssociatedData::refresh_seed(value.id.into()),
            SealedColumn::PlayUrls => AssociatedData::play_url(value.id),
        };
        let secret = match self.keys.sealer.open(&aad, &value.sealed) {
            Ok(secret) => secret,
            Err(error) => {
                let error = error.with_causes();
                tracing::warn!(id = %value.id, error, "cannot reseal a value");
                return Ok(false);
            }
        };
        let resealed = self.keys.sealer.seal(&aad, &secret);
        column.replace(&self.database, value, &resealed).await?;
        Ok(true)
    }
}
