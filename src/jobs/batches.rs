use std::{fmt, future::Future, time::Duration};

use tokio::time::sleep;

use crate::{
    database::{Batch, DeletedBatch},
    error::{Error, Result},
};

/// The rows of the first batch.
const FIRST_BATCH_SIZE: i64 = 50;

/// The rows of the smallest batch that is not small because of a failure, and of the largest.
const MIN_BATCH_SIZE: i64 = 10;
const MAX_BATCH_SIZE: i64 = 1000;

/// The duration that a batch should take: on SQLite no other write runs meanwhile.
const TARGET_DURATION: Duration = Duration::from_millis(20);

/// The pauses between batches. Each is as long as the batch before, so that other writes get at
/// least half of the time; after a failure it is the longest.
const MIN_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// Deletes batches with pauses until none is left. A batch that fails is tried again with fewer
/// rows. A row that cannot be deleted is skipped until the next run, and logged, at most
/// `max_skipped` of them; `Ok(false)` if there was one. Fails if the database is unavailable,
/// or more rows cannot be deleted.
pub(super) async fn delete_batches<F>(
    what: impl fmt::Debug,
    max_skipped: i64,
    mut delete: impl FnMut(Batch) -> F,
) -> Result<bool>
where
    F: Future<Output = Result<DeletedBatch>>,
{
    let mut batch = Batch {
        limit: FIRST_BATCH_SIZE,
        skip: 0,
    };
    loop {
        let mut pause = MAX_PAUSE;
        match delete(batch).await {
            Ok(DeletedBatch { rows: 0, .. }) => return Ok(batch.skip == 0),
            Ok(DeletedBatch { work_time, .. }) => {
                batch.limit = next_limit(batch.limit, work_time);
                pause = work_time.clamp(MIN_PAUSE, MAX_PAUSE);
            }
            Err(error) if !may_concern_one_row(&error) => return Err(error),
            Err(_) if batch.limit > 1 => batch.limit = (batch.limit / 10).max(1),
            Err(error) if batch.skip >= max_skipped => return Err(error),
            Err(error) => {
                tracing::warn!(
                    ?what,
                    error = error.with_causes(),
                    "a row cannot be deleted now, going on with the next"
                );
                batch.skip += 1;
            }
        }
        sleep(pause).await;
    }
}

/// The number of rows of the next batch.
fn next_limit(limit: i64, took: Duration) -> i64 {
    let next = match took {
        _ if took > 2 * TARGET_DURATION => limit / 2,
        _ if took < TARGET_DURATION / 2 => limit * 2,
        _ => limit,
    };
    next.clamp(MIN_BATCH_SIZE, MAX_BATCH_SIZE)
}

/// Whether another batch or item may succeed although this one fails.
pub(super) fn may_concern_one_row(error: &Error) -> bool {
    !matches!(error, Error::DatabaseUnavailable(_) | Error::StorageFull(_))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, future::ready};

    use super::*;

    /// Deletes of a table with this number of rows, of which some cannot be deleted.
    async fn delete_all(rows: u32, bad: &[u32]) -> (Result<bool>, BTreeSet<u32>) {
        let mut left: BTreeSet<u32> = (0..rows).collect();
        let mut delete = |batch: Batch| {
            let skip = usize::try_from(batch.skip).unwrap();
            let limit = usize::try_from(batch.limit).unwrap();
            let chosen: Vec<_> = left.iter().copied().skip(skip).take(limit).collect();
            if chosen.iter().any(|row| bad.contains(row)) {
                return Err(Error::ConcurrentChange);
            }
            left.retain(|row| !chosen.contains(row));
            Ok(DeletedBatch {
                rows: u64::try_from(chosen.len()).unwrap(),
                work_time: Duration::from_millis(15),
            })
        };
        let result = delete_batches("rows", 10, |batch| ready(delete(batch))).await;
        (result, left)
    }

    #[tokio::test]
    async fn batches_are_deleted_until_none_is_left() {
        let (result, left) = delete_all(5000, &[]).await;

        assert!(result.unwrap());
        assert!(left.is_empty());
    }

    #[tokio::test]
    async fn rows_that_cannot_be_deleted_do_not_keep_others() {
        let bad = [0, 700, 701, 1999];

        let (result, left) = delete_all(2000, &bad).await;

        assert!(!result.unwrap());
        assert_eq!(left, BTreeSet::from(bad));
    }

    #[tokio::test]
    async fn a_run_ends_when_too_many_rows_cannot_be_deleted() {
        let bad: Vec<u32> = (0..11).collect();

        let (result, left) = delete_all(2000, &bad).await;

        assert!(matches!(result, Err(Error::ConcurrentChange)));
        assert!(left.len() > 11);
    }

    #[tokio::test]
    async fn a_run_ends_when_the_database_is_unavailable() {
        let mut calls = 0;

        let result = delete_batches("rows", 10, |_| {
            calls += 1;
            ready(Err(Error::DatabaseUnavailable(sqlx::Error::PoolTimedOut)))
        })
        .await;

        assert!(matches!(result, Err(Error::DatabaseUnavailable(_))));
        assert_eq!(calls, 1);
    }

    #[test]
    fn a_slow_batch_is_followed_by_a_smaller_one() {
        assert_eq!(next_limit(100, Duration::from_millis(60)), 50);
        assert_eq!(next_limit(100, Duration::from_millis(20)), 100);
        assert_eq!(next_limit(100, Duration::from_millis(5)), 200);
        assert_eq!(next_limit(10, Duration::from_secs(1)), 10);
        assert_eq!(next_limit(1000, Duration::ZERO), 1000);
    }
}
