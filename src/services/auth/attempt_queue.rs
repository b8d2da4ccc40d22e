use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    auth::at_address,
    domain::{Email, Origin},
    error::{Error, Result},
};

/// How many attempts on one account this replica works on at once.
const AT_ONCE: usize = 2;

/// How many attempts on one account may wait for their turn.
const WAITING: usize = 64;

/// When to come back after too many waited.
const RETRY: Duration = Duration::from_secs(1);

/// From how many accounts on those are forgotten that nobody waits for.
const MANY: usize = 1024;

/// Lets attempts on one account wait for each other, so that many right ones at
/// once, which count as failures until they have succeeded, are not taken for
/// guessing. Each network has turns of its own, so that nobody waits behind
/// strangers. A clone shares the turns.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    accounts: Arc<Mutex<HashMap<Vec<u8>, Weak<Semaphore>>>>,
}

/// A turn, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// Waits for a turn; `TooManyAttempts` if too many wait.
    pub async fn take(&self, email: &Email, origin: &Origin) -> Result<Turn> {
        let turns = self.of(at_address(email.key(), origin));
        if Arc::strong_count(&turns) > AT_ONCE + WAITING {
            return Err(Error::TooManyAttempts(RETRY));
        }
        let permit = turns.acquire_owned().await.map_err(Error::internal)?;
        Ok(Turn { _permit: permit })
    }

    fn of(&self, account: Vec<u8>) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = accounts.get(&account).and_then(Weak::upgrade) {
            return turns;
        }
        if accounts.len() >= MANY {
            accounts.retain(|_, turns| turns.strong_count() > 0);
        }
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        accounts.insert(account, Arc::downgrade(&turns));
        turns
    }
}
