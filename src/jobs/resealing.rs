use std::time::Instant;

use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    auth::{Keys, Place},
    database::Database,
    error::{Error, Result},
    repositories::{KeyRecords, SealedValue, SealedValues},
};

/// How many rows one look takes on.
const BATCH: i64 = 200;

/// Seals anew, under the key that seals now, what stands in the database sealed
/// under an earlier one. Nothing else of a row changes, and a change that comes
/// between wins.
#[derive(Debug)]
pub struct Resealing {
    database: Database,
    keys: Keys,
}

/// What one pass through a column has met.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Values under an earlier key.
    pub found: u64,
    /// Those among them that cannot be opened.
    pub unreadable: u64,
}

impl Resealing {
    /// Works on this database.
    pub fn new(database: Database, keys: Keys) -> Self {
        Self { database, keys }
    }

    /// Goes once through a column.
    pub async fn pass(&self, column: SealedValues) -> Result<Pass> {
        let key = self.keys.sealer.sealing_key();
        let mut pass = Pass::default();
        let mut above = Uuid::nil();
        loop {
            let begun = Instant::now();
            let values = column.not_under(&self.database, key.bytes(), above, BATCH);
            let values = values.await?;
            let Some(last) = values.last() else {
                return Ok(pass);
            };
            above = last.id;
            for value in &values {
                pass.found += 1;
                if !self.reseal(column, value).await? {
                    pass.unreadable += 1;
                }
            }
            // Callers have the database for themselves half of the time.
            sleep(begun.elapsed()).await;
        }
    }

    /// Seals the keys that rotations made under the first root key.
    pub async fn rewrap(&self) -> Result<()> {
        let records = KeyRecords::new(self.database.clone());
        for record in records.list().await? {
            let anew = self.keys.rewrapped(&record).map_err(Error::internal)?;
            if let Some(anew) = anew {
                records.rewrap(&record, &anew).await?;
            }
        }
        Ok(())
    }

    async fn reseal(&self, column: SealedValues, value: &SealedValue) -> Result<bool> {
        let place = match column {
            SealedValues::StreamKeys => Place::stream_key(value.id.into()),
            SealedValues::DestinationKeys => Place::destination_key(value.id.into()),
            SealedValues::RefreshSeeds => Place::refresh_seed(value.id.into()),
            SealedValues::PlayUrls => Place::play_url(value.id),
        };
        let secret = match self.keys.sealer.open(&place, &value.sealed) {
            Ok(secret) => secret,
            Err(error) => {
                let error = error.with_causes();
                tracing::warn!(id = %value.id, error, "cannot seal a value anew");
                return Ok(false);
            }
        };
        let anew = self.keys.sealer.seal(&place, &secret);
        column.replace(&self.database, value, &anew).await?;
        Ok(true)
    }
}
