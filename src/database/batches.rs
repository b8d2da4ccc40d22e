//! Deleting many rows in small batches.

use std::time::Duration;

/// The rows that one statement deletes, of all rows to delete in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The maximum number of rows.
    pub limit: i64,
    /// The number of rows before the first one, because they cannot be deleted now.
    pub skip: i64,
}

/// The rows that a statement has deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeletedBatch {
    /// Their number.
    pub rows: u64,
    /// The time of the statement and of its commit, during which nothing else writes to SQLite.
    pub work_time: Duration,
}

/// Deletes a batch of rows in a transaction of its own; returns their number and its time. Pages
/// that a delete changes are written by the commit: on SQLite it can take ten times as long as
/// the statement.
macro_rules! delete_batch {
    ($database:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {{
        let mut tx = $database.begin().await?;
        // Not the wait for a connection, which has nothing to do with the number of rows.
        let begun = std::time::Instant::now();
        let rows = rows_affected!(tx, $sql, [$($argument),*])?;
        let committed = tx.commit(rows).await;
        committed.map(|rows| $crate::database::DeletedBatch {
            rows,
            work_time: begun.elapsed(),
        })
    }};
}
