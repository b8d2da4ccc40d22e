//! Password hashing, off the async threads.
//!
//! bcrypt takes tens of milliseconds of a core. It runs on its own low-priority threads
//! behind a bounded queue. When the queue is full, a call is refused at once. A job whose
//! caller is gone is skipped.
//!
//! Every password check takes the time of one hash at the configured cost, whatever is
//! stored, so that its duration does not tell whether an account exists. Without a hash
//! it verifies a dummy hash. With a hash of a lower cost (imported, or from before the
//! cost was raised) it also does the missing rounds. A hash of a higher cost takes
//! longer: after the setting is lowered, the time reveals accounts with an older
//! password until they change it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use bcrypt::{BcryptResult, HashParts};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    domain::{Invalid, Password, Secret},
    error::{Error, Result},
    telemetry::{metrics::PASSWORDS, traces},
};

/// The niceness of the hashing threads. Other threads get about nine times as much of a
/// busy core, so that many sign-ins do not slow down other calls.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The retry delay that a caller is told when the queue is full.
const QUEUE_FULL_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A well-formed hash of an unknown password, without its version and cost.
const DUMMY_HASH: &str = "$ODzgR3Qqv8DFHTKS2E0nN.2fYk0pMvHc7v6NlAPVKm1h5xJUqLrKe";

/// Hashes passwords with bcrypt. A clone shares the threads and the queue.
#[derive(Debug, Clone)]
pub struct PasswordHasher {
    queue: Sender<Job>,
    slots: Arc<Semaphore>,
    cost: u32,
}

/// A slot in the queue, for one call.
#[derive(Debug)]
pub struct HashSlot {
    hasher: PasswordHasher,
    /// Shared with the job, which continues when its caller leaves in the middle.
    permit: Arc<OwnedSemaphorePermit>,
}

/// The result of a password check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordVerification {
    /// The password does not match, or there is no hash.
    Mismatch,
    /// The password matches.
    Match {
        /// Whether the hash has a lower cost than new hashes.
        needs_rehash: bool,
    },
}

/// A task for a hashing thread, which tells it the cost of new hashes.
struct Job {
    task: Box<dyn FnOnce(u32) + Send>,
    permit: Arc<OwnedSemaphorePermit>,
}

impl PasswordHasher {
    /// Starts the threads. `cost` is the binary logarithm of the rounds. `queue` is the
    /// number of calls that may wait besides one for each thread.
    pub fn start(cost: u32, threads: usize, queue: usize) -> anyhow::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new()
                .name(format!("bcrypt-{number}"))
                .spawn(move || {
                    lower_priority();
                    run_jobs(&receiver, cost);
                })?;
        }
        Ok(Self {
            queue: sender,
            slots: Arc::new(Semaphore::new(threads + queue)),
            cost,
        })
    }

    /// Reserves a slot in the queue; `PasswordQueueFull` if there is none.
    pub fn reserve_slot(&self) -> Result<HashSlot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            PASSWORDS.refused.inc();
            Error::PasswordQueueFull(QUEUE_FULL_RETRY_DELAY)
        })?;
        Ok(HashSlot {
            hasher: self.clone(),
            permit: Arc::new(permit),
        })
    }
}

impl HashSlot {
    /// Checks that a new password is strong for someone who knows the texts in `about`.
    /// The estimate takes about as long as a hash.
    pub async fn choose(&self, text: &str, about: &[&str]) -> Result<Result<Password, Invalid>> {
        let text = Secret::new(text);
        let about: Vec<_> = about.iter().map(ToString::to_string).collect();
        self.run(move |_| {
            let about: Vec<_> = about.iter().map(String::as_str).collect();
            Password::parse_new(text.expose(), &about)
        })
        .await
    }

    /// Hashes a password with a new salt.
    pub async fn hash(&self, password: Password) -> Result<String> {
        let hash = self.run(move |cost| hash(&password, cost)).await?;
        hash.map_err(Error::internal)
    }

    /// Verifies a password. Without a hash the result is a mismatch, after the same work.
    pub async fn verify(
        &self,
        password: Password,
        hash: Option<String>,
    ) -> Result<PasswordVerification> {
        let has_hash = hash.is_some();
        let hash = hash.unwrap_or_else(|| format!("$2b${:02}{DUMMY_HASH}", self.hasher.cost));
        let task = move |cost| verify(&password, &hash, cost);
        let verification = self.run(task).await?.map_err(Error::internal)?;
        Ok(match has_hash {
            true => verification,
            false => PasswordVerification::Mismatch,
        })
    }

    /// Runs a task on a hashing thread, unless the caller is gone by then.
    async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(u32) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, done) = oneshot::channel();
        let _step = traces::child_span("password");
        let task = Box::new(move |cost| {
            if !reply.is_closed() {
                let _run = PASSWORDS.start_run();
                let _ = reply.send(task(cost));
            }
        });
        let permit = Arc::clone(&self.permit);
        PASSWORDS.waiting.inc();
        self.hasher
            .queue
            .send(Job { task, permit })
            .map_err(|_| Error::internal(anyhow::anyhow!("no hashing thread")))?;
        done.await.map_err(Error::internal)
    }
}

/// Lowers the priority of this thread. Only Linux has a priority for each thread.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "cannot lower the priority of a hashing thread");
    }
}

fn run_jobs(queue: &Mutex<Receiver<Job>>, cost: u32) {
    loop {
        let next = queue.lock().recv();
        let Ok(Job { task, permit }) = next else {
            return;
        };
        PASSWORDS.waiting.dec();
        // The panic hook logs a panic, the caller gets INTERNAL, and the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| task(cost)));
        drop(permit);
    }
}

fn hash(password: &Password, cost: u32) -> BcryptResult<String> {
    tracing::debug!(cost, "hashing a password");
    bcrypt::non_truncating_hash(password.expose(), cost)
}

fn verify(password: &Password, hash: &str, cost: u32) -> BcryptResult<PasswordVerification> {
    tracing::debug!(cost, "checking a password");
    let stored = hash.parse::<HashParts>()?.get_cost();
    if bcrypt::non_truncating_verify(password.expose(), hash)? {
        return Ok(PasswordVerification::Match {
            needs_rehash: stored < cost,
        });
    }
    // 2^stored rounds are done; these complete them to 2^cost.
    for remaining in stored..cost {
        bcrypt::non_truncating_hash(password.expose(), remaining)?;
    }
    Ok(PasswordVerification::Mismatch)
}

#[cfg(test)]
mod tests {
    use super::{PasswordHasher, PasswordVerification};
    use crate::{domain::Password, error::Error};

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    async fn verify(
        hasher: &PasswordHasher,
        text: &str,
        hash: Option<String>,
    ) -> PasswordVerification {
        let slot = hasher.reserve_slot().unwrap();
        slot.verify(password(text), hash).await.unwrap()
    }

    #[tokio::test]
    async fn own_hashes_and_hashes_of_the_predecessor_verify() {
        let hasher = PasswordHasher::start(4, 1, 4).unwrap();
        let raised = PasswordHasher::start(11, 1, 4).unwrap();
        let slot = hasher.reserve_slot().unwrap();
        let own = slot.hash(password("correct horse")).await.unwrap();
        let imported = bcrypt::hash_with_salt("correct horse", 10, *b"0123456789abcdef").unwrap();
        let imported = imported.format_for_version(bcrypt::Version::TwoB);
        let matching = |needs_rehash| PasswordVerification::Match { needs_rehash };

        for (hasher, text, hash, expected) in [
            (&hasher, "correct horse", &own, matching(false)),
            (&hasher, "wrong horse", &own, PasswordVerification::Mismatch),
            (&hasher, "correct horse", &imported, matching(false)),
            (&raised, "correct horse", &imported, matching(true)),
        ] {
            let verification = verify(hasher, text, Some(hash.clone())).await;
            assert_eq!(verification, expected, "{text} {hash}");
        }
    }

    #[tokio::test]
    async fn verification_without_a_hash_is_a_mismatch() {
        let hasher = PasswordHasher::start(4, 1, 4).unwrap();
        let verification = verify(&hasher, "correct horse", None).await;
        assert_eq!(verification, PasswordVerification::Mismatch);
    }

    #[tokio::test]
    async fn a_call_is_refused_at_once_when_the_queue_is_full() {
        let hasher = PasswordHasher::start(4, 1, 1).unwrap();
        let slots = [(); 2].map(|()| hasher.reserve_slot().unwrap());
        let refused = hasher.reserve_slot().unwrap_err();
        assert!(matches!(refused, Error::PasswordQueueFull(_)));

        drop(slots);
        assert!(hasher.reserve_slot().is_ok());
    }
}
