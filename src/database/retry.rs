//! Transactions that are begun anew when they lose a race.

use std::{future::Future, time::Duration};

use tokio::time::sleep;

use super::Database;
use crate::{
    error::{Error, Result},
    random::random_fraction,
};

/// How often a transaction is tried again.
const AGAIN: u32 = 4;

/// How long to wait before that, at most; twice as long each time.
const WAIT: Duration = Duration::from_millis(20);

impl Database {
    /// Runs a whole transaction, from its begin to its commit, again if it lost a race:
    /// a deadlock, or an order that the database could not find. What it does outside the
    /// database is done as often.
    pub(crate) async fn retried<T, F>(&self, transaction: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut tries = 0;
        loop {
            match transaction().await {
                Err(Error::LostRace(cause)) if tries < AGAIN => {
                    tracing::debug!(%cause, tries, "a transaction lost a race");
                    sleep(WAIT.mul_f64(random_fraction()) * 2_u32.pow(tries)).await;
                    tries += 1;
                }
                Err(Error::LostRace(_)) => return Err(Error::ConcurrentChange),
                Err(error @ Error::DatabaseUnavailable(_)) => return Err(error),
                Err(refusal) => {
                    // It may rest on what others have written and not yet committed.
                    self.settle().await?;
                    return Err(refusal);
                }
                done => return done,
            }
        }
    }
}
