use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    domain::Email,
    error::{Error, Result},
};

/// How many attempts on one account this replica works on at once.
const AT_ONCE: usize = 2;

/// From how many accounts on those are forgotten that nobody waits for.
const MANY: usize = 1024;

/// Lets attempts on one account wait for each other, so that many right ones at
/// once, which count as failures until they have succeeded, are not taken for
/// guessing. A clone shares the turns.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    accounts: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

/// A turn, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// Waits for a turn.
    pub async fn take(&self, email: &Email) -> Result<Turn> {
        let turns = self.of(email);
        let permit = turns.acquire_owned().await.map_err(Error::internal)?;
        Ok(Turn { _permit: permit })
    }

    fn of(&self, email: &Email) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = accounts.get(email.key()).and_then(Weak::upgrade) {
            return turns;
        }
        if accounts.len() >= MANY {
            accounts.retain(|_, turns| turns.strong_count() > 0);
        }
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        accounts.insert(email.key().to_owned(), Arc::downgrade(&turns));
        turns
    }
}
