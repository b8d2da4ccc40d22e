//! Password hashing, away from the async threads.
//!
//! bcrypt takes tens of milliseconds of a core. It runs on threads of its own,
//! behind a bounded queue: when the queue is full the call is refused at once,
//! and a password whose caller has gone away is not hashed any more.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    domain::Password,
    error::{Error, Result},
};

/// When to come back after the queue was full.
const RETRY: Duration = Duration::from_secs(1);

/// A well-formed hash of a password that nobody knows, without its cost.
const NOBODY: &str = "$ODzgR3Qqv8DFHTKS2E0nN.2fYk0pMvHc7v6NlAPVKm1h5xJUqLrKe";

/// Hashes passwords with bcrypt. A clone shares the threads and the queue.
#[derive(Debug, Clone)]
pub struct PasswordHasher {
    queue: SyncSender<Job>,
    cost: u32,
}

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Done>>,
}

enum Work {
    Hash(Password),
    Verify(Password, String),
}

enum Done {
    Hashed(String),
    Verified(bool),
}

impl PasswordHasher {
    /// Starts the threads. `cost` is the binary logarithm of the rounds.
    pub fn start(cost: u32, threads: usize, queue: usize) -> anyhow::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new()
                .name(format!("bcrypt-{number}"))
                .spawn(move || work_off(&receiver, cost))?;
        }
        Ok(Self {
            queue: sender,
            cost,
        })
    }

    /// Hashes a password with a new salt.
    pub async fn hash(&self, password: Password) -> Result<String> {
        match self.enqueue(Work::Hash(password)).await? {
            Done::Hashed(hash) => Ok(hash),
            Done::Verified(_) => Err(Error::internal(anyhow::anyhow!("a hash was verified"))),
        }
    }

    /// Whether a password belongs to a hash. Without a hash the answer is no,
    /// after the same work.
    pub async fn verify(&self, password: Password, hash: Option<String>) -> Result<bool> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| format!("$2b${:02}{NOBODY}", self.cost));
        match self.enqueue(Work::Verify(password, hash)).await? {
            Done::Verified(matches) => Ok(known && matches),
            Done::Hashed(_) => Err(Error::internal(anyhow::anyhow!("a password was hashed"))),
        }
    }

    async fn enqueue(&self, work: Work) -> Result<Done> {
        let (reply, done) = oneshot::channel();
        self.queue
            .try_send(Job { work, reply })
            .map_err(|refused| match refused {
                TrySendError::Full(_) => Error::PasswordQueueFull(RETRY),
                TrySendError::Disconnected(_) => {
                    Error::internal(anyhow::anyhow!("no hashing thread"))
                }
            })?;
        done.await.map_err(Error::internal)?
    }
}

fn work_off(queue: &Mutex<Receiver<Job>>, cost: u32) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { work, reply }) = next else {
            return;
        };
        if reply.is_closed() {
            continue;
        }

        let done = match work {
            Work::Hash(password) => {
                bcrypt::non_truncating_hash(password.expose(), cost).map(Done::Hashed)
            }
            Work::Verify(password, hash) => {
                bcrypt::non_truncating_verify(password.expose(), &hash).map(Done::Verified)
            }
        };
        // Whoever asked may have gone away meanwhile.
        let _ = reply.send(done.map_err(Error::internal));
    }
}

#[cfg(test)]
mod tests {
    use super::PasswordHasher;
    use crate::{domain::Password, error::Error};

    fn password(text: &str) -> Password {
        Password::choose(text).unwrap()
    }

    #[tokio::test]
    async fn verifies_what_it_hashed_and_what_the_predecessor_hashed() {
        let hasher = PasswordHasher::start(4, 1, 4).unwrap();
        let hash = hasher.hash(password("correct horse")).await.unwrap();
        assert!(
            hasher
                .verify(password("correct horse"), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !hasher
                .verify(password("wrong horse"), Some(hash))
                .await
                .unwrap()
        );

        let theirs = bcrypt::hash_with_salt("correct horse", 10, *b"0123456789abcdef").unwrap();
        let theirs = theirs.format_for_version(bcrypt::Version::TwoB);
        assert!(
            hasher
                .verify(password("correct horse"), Some(theirs))
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        let hasher = PasswordHasher::start(4, 1, 4).unwrap();
        assert!(
            !hasher
                .verify(password("correct horse"), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn refuses_at_once_when_the_queue_is_full() {
        let hasher = PasswordHasher::start(10, 1, 1).unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let hasher = hasher.clone();
            calls.spawn(async move { hasher.hash(password("correct horse")).await });
        }

        let answers = calls.join_all().await;
        let refused = answers
            .iter()
            .filter(|answer| matches!(answer, Err(Error::PasswordQueueFull(_))));
        // One is being hashed and one waits.
        assert!(refused.count() >= 6);
    }
}
