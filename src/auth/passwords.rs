//! Password hashing, away from the async threads.
//!
//! bcrypt takes tens of milliseconds of a core. It runs on threads of its own, of
//! lower priority, behind a bounded queue: when the queue is full the call is
//! refused at once, and a password whose caller has gone away is not hashed any more.
//!
//! Every check of a password takes the work of one hash at the cost of the
//! settings, whatever is stored: for nobody's password a hash is made up, and
//! for one of a lower cost (brought over, or from before the cost was raised)
//! the rest of the work is done too. A higher cost takes longer: lowering the
//! setting tells, until they change it, who had a password before.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use bcrypt::{BcryptResult, HashParts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    domain::{Invalid, Password, Secret},
    error::{Error, Result},
    telemetry::{metrics::PASSWORDS, traces},
};

/// How far other threads go before those that hash (nice(2)): about nine times as
/// much of a busy core is theirs, so that many sign-ins do not slow down the rest.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// When to come back after the queue was full.
const RETRY: Duration = Duration::from_secs(1);

/// A well-formed hash of a password that nobody knows, without its cost.
const NOBODY: &str = "$ODzgR3Qqv8DFHTKS2E0nN.2fYk0pMvHc7v6NlAPVKm1h5xJUqLrKe";

/// Hashes passwords with bcrypt. A clone shares the threads and the queue.
#[derive(Debug, Clone)]
pub struct PasswordHasher {
    queue: Sender<Job>,
    places: Arc<Semaphore>,
    cost: u32,
}

/// A place in the queue, for one call.
#[derive(Debug)]
pub struct HashSlot {
    queue: Sender<Job>,
    /// Kept by the work too, which goes on when its caller goes away in the middle.
    place: Arc<OwnedSemaphorePermit>,
    cost: u32,
}

/// Whether a password belongs to a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does not, or there is no hash.
    Wrong,
    /// It does.
    Right {
        /// Whether the hash has a lower cost than new ones.
        outdated: bool,
    },
}

struct Job {
    work: Work,
    place: Arc<OwnedSemaphorePermit>,
}

enum Work {
    Choose(
        Secret,
        Vec<String>,
        oneshot::Sender<Result<Password, Invalid>>,
    ),
    Hash(Password, oneshot::Sender<BcryptResult<String>>),
    Verify(Password, String, oneshot::Sender<BcryptResult<Verdict>>),
}

impl PasswordHasher {
    /// Starts the threads. `cost` is the binary logarithm of the rounds; `queue`
    /// is how many calls may wait beside those that are worked on.
    pub fn start(cost: u32, threads: usize, queue: usize) -> anyhow::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new()
                .name(format!("bcrypt-{number}"))
                .spawn(move || {
                    give_way();
                    work_off(&receiver, cost);
                })?;
        }
        Ok(Self {
            queue: sender,
            places: Arc::new(Semaphore::new(threads + queue)),
            cost,
        })
    }

    /// A place in the queue; `PasswordQueueFull` if there is none.
    pub fn admit(&self) -> Result<HashSlot> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            PASSWORDS.refused();
            Error::PasswordQueueFull(RETRY)
        })?;
        Ok(HashSlot {
            queue: self.queue.clone(),
            place: Arc::new(place),
            cost: self.cost,
        })
    }
}

impl HashSlot {
    /// Takes a new password, if it is hard to guess for who knows what it is
    /// `about`. To estimate that takes about as long as a hash.
    pub async fn choose(&self, text: &str, about: &[&str]) -> Result<Result<Password, Invalid>> {
        let (reply, done) = oneshot::channel();
        let _step = traces::child("password");
        let about = about.iter().map(ToString::to_string).collect();
        self.enqueue(Work::Choose(Secret::new(text), about, reply))?;
        done.await.map_err(Error::internal)
    }

    /// Hashes a password with a new salt.
    pub async fn hash(&self, password: Password) -> Result<String> {
        let (reply, done) = oneshot::channel();
        let _step = traces::child("password");
        self.enqueue(Work::Hash(password, reply))?;
        done.await
            .map_err(Error::internal)?
            .map_err(Error::internal)
    }

    /// Whether a password belongs to a hash. Without a hash it does not, after
    /// the same work.
    pub async fn verify(&self, password: Password, hash: Option<String>) -> Result<Verdict> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| format!("$2b${:02}{NOBODY}", self.cost));
        let (reply, done) = oneshot::channel();
        let _step = traces::child("password");
        self.enqueue(Work::Verify(password, hash, reply))?;
        let verdict = done
            .await
            .map_err(Error::internal)?
            .map_err(Error::internal)?;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    fn enqueue(&self, work: Work) -> Result<()> {
        let place = Arc::clone(&self.place);
        PASSWORDS.queued();
        self.queue
            .send(Job { work, place })
            .map_err(|_| Error::internal(anyhow::anyhow!("no hashing thread")))
    }
}

/// Lowers the priority of this thread, where the system has one for each thread.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "cannot lower the priority of a hashing thread");
    }
}

fn work_off(queue: &Mutex<Receiver<Job>>, cost: u32) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { work, place }) = next else {
            return;
        };
        PASSWORDS.taken();
        // A panic is logged by the hook of telemetry; its caller gets INTERNAL, and this
        // thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| work.run(cost)));
        drop(place);
    }
}

impl Work {
    /// Does it, unless whoever asked has gone away.
    fn run(self, cost: u32) {
        match self {
            Self::Choose(text, about, reply) if !reply.is_closed() => {
                let _run = PASSWORDS.run();
                let about: Vec<_> = about.iter().map(String::as_str).collect();
                let _ = reply.send(Password::choose(text.expose(), &about));
            }
            Self::Hash(password, reply) if !reply.is_closed() => {
                let _run = PASSWORDS.run();
                let _ = reply.send(hash(&password, cost));
            }
            Self::Verify(password, hash, reply) if !reply.is_closed() => {
                let _run = PASSWORDS.run();
                let _ = reply.send(verify(&password, &hash, cost));
            }
            Self::Choose(..) | Self::Hash(..) | Self::Verify(..) => {}
        }
    }
}

fn hash(password: &Password, cost: u32) -> BcryptResult<String> {
    tracing::debug!(cost, "hashing a password");
    bcrypt::non_truncating_hash(password.expose(), cost)
}

fn verify(password: &Password, hash: &str, cost: u32) -> BcryptResult<Verdict> {
    tracing::debug!(cost, "checking a password");
    let stored = hash.parse::<HashParts>()?.get_cost();
    if bcrypt::non_truncating_verify(password.expose(), hash)? {
        return Ok(Verdict::Right {
            outdated: stored < cost,
        });
    }
    // 2^stored rounds are done; these make them 2^cost.
    for rest in stored..cost {
        bcrypt::non_truncating_hash(password.expose(), rest)?;
    }
    Ok(Verdict::Wrong)
}

#[cfg(test)]
mod tests {
    use super::{PasswordHasher, Verdict};
    use crate::{domain::Password, error::Error};

    fn password(text: &str) -> Password {
        Password::present(text).unwrap()
    }

    async fn verify(hasher: &PasswordHasher, text: &str, hash: Option<String>) -> Verdict {
        let slot = hasher.admit().unwrap();
        slot.verify(password(text), hash).await.unwrap()
    }

    #[tokio::test]
    async fn verifies_what_it_hashed_and_what_the_predecessor_hashed() {
        let hasher = PasswordHasher::start(4, 1, 4).unwrap();
        let slot = hasher.admit().unwrap();
        let hash = slot.hash(password("correct horse")).await.unwrap();
        let right = verify(&hasher, "correct horse", Some(hash.clone())).await;
        assert_eq!(right, Verdict::Right { outdated: false });
        let wrong = verify(&hasher, "wrong horse", Some(hash)).await;
        assert_eq!(wrong, Verdict::Wrong);

        let theirs = bcrypt::hash_with_salt("correct horse", 10, *b"0123456789abcdef").unwrap();
        let theirs = theirs.format_for_version(bcrypt::Version::TwoB);
        let right = verify(&hasher, "correct horse", Some(theirs.clone())).await;
        assert_eq!(right, Verdict::Right { outdated: false });
        let raised = PasswordHasher::start(11, 1, 4).unwrap();
        let right = verify(&raised, "correct horse", Some(theirs)).await;
        assert_eq!(right, Verdict::Right { outdated: true });
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        let hasher = PasswordHasher::start(4, 1, 4).unwrap();
        assert_eq!(verify(&hasher, "correct horse", None).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn refuses_at_once_when_the_queue_is_full() {
        let hasher = PasswordHasher::start(4, 1, 1).unwrap();
        let places = [hasher.admit().unwrap(), hasher.admit().unwrap()];
        assert!(matches!(hasher.admit(), Err(Error::PasswordQueueFull(_))));

        drop(places);
        assert!(hasher.admit().is_ok());
    }
}
