//! When a job tries again what it could not do.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

use super::batches::may_concern_one_row;
use crate::error::{Error, Result};

/// The delay after the first failure of an item: less than the interval of a job. Each further
/// failure doubles it, up to the maximum.
const MIN_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The most items that are postponed. Further ones are tried in each run.
const MAX_POSTPONED: usize = 10_000;

/// The items of a job that failed, such as projects. Each is tried again after a delay of its own,
/// so that one that always fails costs little, is not logged in each run, and delays no other.
#[derive(Debug)]
pub(super) struct Retries<K> {
    failures: HashMap<K, Failure>,
}

/// The failures of one item.
#[derive(Debug)]
struct Failure {
    delay: Duration,
    retry_at: Instant,
}

/// What became of an item in a run.
#[derive(Debug)]
pub(super) enum Attempt<T> {
    /// It succeeded.
    Done(T),
    /// It failed, and is postponed.
    Failed(Error),
    /// It failed in an earlier run, and was not tried.
    Postponed,
}

impl<K> Default for Retries<K> {
    fn default() -> Self {
        Self {
            failures: HashMap::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> Retries<K> {
    /// Does the work for an item, unless it is postponed. Fails if no other item can succeed
    /// either, because the database is unavailable or full.
    pub async fn attempt<T>(
        &mut self,
        item: K,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Attempt<T>> {
        let failure = self.failures.get(&item);
        if failure.is_some_and(|failure| failure.retry_at > Instant::now()) {
            return Ok(Attempt::Postponed);
        }
        match work.await {
            Ok(done) => {
                self.failures.remove(&item);
                Ok(Attempt::Done(done))
            }
            Err(error) if may_concern_one_row(&error) => {
                self.postpone(item, Instant::now());
                Ok(Attempt::Failed(error))
            }
            Err(error) => Err(error),
        }
    }

    fn postpone(&mut self, item: K, now: Instant) {
        // What was due that long ago is not found any more.
        self.failures
            .retain(|_, failure| now.saturating_duration_since(failure.retry_at) < 2 * MAX_DELAY);
        let last = self.failures.get(&item).map(|failure| failure.delay);
        if last.is_none() && self.failures.len() >= MAX_POSTPONED {
            return;
        }
        let delay = last.map_or(MIN_DELAY, |delay| (2 * delay).min(MAX_DELAY));
        let retry_at = now + delay;
        self.failures.insert(item, Failure { delay, retry_at });
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    async fn attempt(retries: &mut Retries<u32>, item: u32, result: Result<()>) -> &'static str {
        match retries.attempt(item, ready(result)).await {
            Ok(Attempt::Done(())) => "done",
            Ok(Attempt::Failed(_)) => "failed",
            Ok(Attempt::Postponed) => "postponed",
            Err(_) => "unavailable",
        }
    }

    #[tokio::test]
    async fn an_item_that_fails_is_postponed_and_the_others_are_not() {
        let mut retries = Retries::default();

        let failed = attempt(&mut retries, 1, Err(Error::DeadlineExceeded)).await;
        assert_eq!(failed, "failed");
        assert_eq!(attempt(&mut retries, 1, Ok(())).await, "postponed");
        assert_eq!(attempt(&mut retries, 2, Ok(())).await, "done");
    }

    #[tokio::test]
    async fn an_unavailable_database_postpones_nothing() {
        let mut retries = Retries::default();
        let unavailable = Error::DatabaseUnavailable(sqlx::Error::PoolTimedOut);

        let failed = attempt(&mut retries, 1, Err(unavailable)).await;
        assert_eq!(failed, "unavailable");
        assert_eq!(attempt(&mut retries, 1, Ok(())).await, "done");
    }

    #[tokio::test]
    async fn each_failure_doubles_the_delay_up_to_a_minute_and_a_success_resets_it() {
        let mut retries = Retries::default();
        let mut delays = Vec::new();
        let mut now = Instant::now();
        for _ in 0..9 {
            retries.postpone(1, now);
            let failure = &retries.failures[&1];
            delays.push(failure.delay.as_millis());
            now = failure.retry_at;
        }
        assert_eq!(delays[..4], [500, 1000, 2000, 4000]);
        assert_eq!(delays[7..], [60_000, 60_000]);

        retries.failures.clear();
        retries.postpone(1, now);
        assert_eq!(retries.failures[&1].delay, MIN_DELAY);
    }

    #[test]
    fn the_number_of_postponed_items_is_limited_and_old_ones_are_forgotten() {
        let mut retries = Retries::default();
        let now = Instant::now();
        for item in 0..=MAX_POSTPONED {
            retries.failures.insert(
                item,
                Failure {
                    delay: MIN_DELAY,
                    retry_at: now,
                },
            );
        }
        retries.postpone(usize::MAX, now);
        assert!(!retries.failures.contains_key(&usize::MAX));

        retries.postpone(usize::MAX, now + 3 * MAX_DELAY);
        assert_eq!(retries.failures.len(), 1);
    }
}
