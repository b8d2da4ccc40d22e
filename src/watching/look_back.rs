use chrono::TimeDelta;
use parking_lot::Mutex;

use crate::{
    database::Database,
    domain::{Time, now},
    error::Result,
};

/// Finds rows that became visible since the last read, by the time that they contain.
///
/// A row can become visible long after that time: when its transaction commits. So each read looks
/// back to the oldest transaction that was running at the read before, and returns some rows again.
#[derive(Debug)]
pub(super) struct LookBack {
    database: Database,
    /// How long before its transaction begins the time of a row can be: the wait for a connection,
    /// and the inaccuracy of the replicas' clocks.
    margin: TimeDelta,
    /// All rows with an earlier time were visible at the last read.
    since: Mutex<Time>,
}

impl LookBack {
    /// The first read begins this long before now.
    pub fn new(database: &Database, margin: TimeDelta) -> Self {
        Self {
            database: database.clone(),
            margin,
            since: Mutex::new(now() - margin),
        }
    }

    /// Reads the rows after a time. If that fails, the next read begins there again.
    pub async fn read<T>(&self, rows: impl AsyncFnOnce(Time) -> Result<T>) -> Result<T> {
        // Before the rows, which then include those of all transactions that have ended by now.
        let now = now();
        let oldest = self.database.oldest_transaction().await?;
        let next = oldest.map_or(now, |oldest| oldest.min(now)) - self.margin;
        let since = next.min(*self.since.lock());
        let read = rows(since).await?;
        *self.since.lock() = next;
        Ok(read)
    }

    /// Skips what there is: the next read begins the margin before now.
    pub fn skip(&self) {
        *self.since.lock() = now() - self.margin;
    }
}
