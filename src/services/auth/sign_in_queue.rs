use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    auth::account_at_address,
    domain::{Email, RequestOrigin},
    error::{Error, Result},
};

/// How many attempts on one account this replica handles at once.
const MAX_CONCURRENT_ATTEMPTS: usize = 2;

/// How many more attempts on one account may wait.
const MAX_WAITING_ATTEMPTS: usize = 64;

/// The retry delay for an attempt that finds the queue full.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The number of accounts from which unused queues are removed.
const CLEANUP_THRESHOLD: usize = 1024;

/// Serialises sign-in attempts on one account. Clones share the queues.
///
/// An attempt counts as a failure until it has succeeded. Without the queue, many correct attempts
/// at once would be taken for guessing. Each network has its own queue, so that nobody waits behind
/// strangers.
#[derive(Debug, Clone, Default)]
pub(super) struct AttemptQueue {
    accounts: Arc<Mutex<HashMap<Vec<u8>, Weak<Semaphore>>>>,
}

/// The right to attempt a sign-in, until it is dropped.
#[derive(Debug)]
pub(super) struct AttemptPermit {
    _permit: OwnedSemaphorePermit,
}

impl AttemptQueue {
    /// Waits for a permit; `TooManyAttempts` if the queue is full.
    pub async fn acquire(&self, email: &Email, origin: &RequestOrigin) -> Result<AttemptPermit> {
        let queue = self.queue_of(account_at_address(email.key(), origin));
        if Arc::strong_count(&queue) > MAX_CONCURRENT_ATTEMPTS + MAX_WAITING_ATTEMPTS {
            return Err(Error::TooManyAttempts(RETRY_DELAY));
        }
        let permit = queue.acquire_owned().await.map_err(Error::internal)?;
        Ok(AttemptPermit { _permit: permit })
    }

    fn queue_of(&self, account: Vec<u8>) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock();
        if let Some(queue) = accounts.get(&account).and_then(Weak::upgrade) {
            return queue;
        }
        if accounts.len() >= CLEANUP_THRESHOLD {
            accounts.retain(|_, queue| queue.strong_count() > 0);
        }
        let queue = Arc::new(Semaphore::new(MAX_CONCURRENT_ATTEMPTS));
        accounts.insert(account, Arc::downgrade(&queue));
        queue
    }
}
