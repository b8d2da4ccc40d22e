use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits of a pool, one for each connection. Writes may take only some of them.
pub(super) struct PoolPermits {
    any: Arc<Semaphore>,
    /// Each write needs one of these too.
    writes: Arc<Semaphore>,
}

/// The right to have a connection.
pub(super) struct PoolPermit {
    _any: OwnedSemaphorePermit,
    _write: Option<OwnedSemaphorePermit>,
}

impl PoolPermits {
    /// The permits of a pool of this size.
    pub fn new(size: usize) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits));
        Self {
            any: semaphore(size.min(Semaphore::MAX_PERMITS)),
            writes: semaphore(max_writes(size).min(Semaphore::MAX_PERMITS)),
        }
    }

    /// Waits for a permit; callers are served in their order.
    pub async fn acquire(&self, is_write: bool) -> Result<PoolPermit, sqlx::Error> {
        let write = match is_write {
            true => Some(acquire(&self.writes).await?),
            false => None,
        };
        Ok(PoolPermit {
            _any: acquire(&self.any).await?,
            _write: write,
        })
    }

    /// The number of free permits.
    pub fn available(&self) -> usize {
        self.any.available_permits()
    }

    /// Waits until all permits are free, then gives out none any more.
    pub async fn close(&self, size: u32) {
        let all = self.any.acquire_many(size).await;
        self.any.close();
        self.writes.close();
        drop(all);
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, sqlx::Error> {
    let permit = Arc::clone(permits).acquire_owned().await;
    permit.map_err(|_| sqlx::Error::PoolClosed)
}

/// The most permits that writes take: all but a quarter, and at most all but one. Only in a
/// pool of one they take it all.
fn max_writes(size: usize) -> usize {
    size.saturating_sub((size / 4).max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::max_writes;

    #[test]
    fn reads_have_a_quarter_of_the_connections_and_at_least_one() {
        let sizes = [1, 2, 3, 5, 8, 17, 1000];

        assert_eq!(sizes.map(max_writes), [1, 1, 2, 4, 6, 13, 750]);
    }
}
