//! Retries of transactions that fail to serialize.

use std::{future::Future, time::Duration};

use tokio::time::sleep;

use super::Database;
use crate::{
    backoff::Backoff,
    error::{Error, Result},
};

/// The maximum number of retries.
const MAX_RETRIES: u32 = 4;

/// The delays before the retries.
const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(160));

impl Database {
    /// Runs a whole transaction, from begin to commit. Runs it again after a deadlock or a
    /// serialization failure, side effects outside the database included.
    pub(crate) async fn with_retry<T, F>(&self, transaction: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut retries = 0;
        loop {
            match transaction().await {
                Err(Error::LostRace(cause)) if retries < MAX_RETRIES => {
                    tracing::debug!(%cause, retries, "retrying a transaction");
                    retries += 1;
                    sleep(RETRY_BACKOFF.delay(retries)).await;
                }
                Err(Error::LostRace(_)) => return Err(Error::ConcurrentChange),
                Err(error @ Error::DatabaseUnavailable(_)) => return Err(error),
                Err(refusal) => {
                    // It may depend on writes of others that are not committed yet.
                    self.wait_for_commit().await?;
                    return Err(refusal);
                }
                done => return done,
            }
        }
    }
}
