//! Password hashing, off the async threads.
//!
//! bcrypt takes tens of milliseconds of a core. It runs on its own low-priority threads
//! behind a bounded queue. When the queue is full, a call is refused at once. A job whose
//! caller goes away leaves the queue. Addresses take turns, and one has at most an eighth of the queue,
//! so that it cannot keep others from signing in.
//!
//! Every password check takes the time of one hash at the configured cost, whatever is
//! stored, so that its duration does not tell whether an account exists. Without a hash
//! it verifies a dummy hash. With a hash of a lower cost (imported, or from before the
//! cost was raised) it also does the missing rounds. A hash of a higher cost takes
//! longer: after the setting is lowered, the time reveals accounts with an older
//! password until they change it.

use std::{
    collections::{HashMap, hash_map::Entry},
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
use tokio::sync::oneshot;

use super::BreachedPasswords;
use crate::{
    domain::{Invalid, Password, PeerAddress, Secret},
    error::{Error, Result},
    fair_queue::{FairQueue, QueueTicket},
    telemetry::{metrics::PASSWORDS, traces},
};

/// The niceness of the hashing threads. Other threads get about three times as much of a
/// busy core, so that many sign-ins do not slow down other calls.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// The retry delay that a caller is told when the queue is full.
const QUEUE_FULL_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The part of the slots that one address may use, but at least one for each thread.
const ADDRESS_FRACTION: usize = 8;

/// The violation of a new password that is known from a data breach.
const BREACHED: &str = "must be another one: it is known from a data breach, so others may try it";

/// A well-formed hash of an unknown password, without its version and cost.
const DUMMY_HASH: &str = "$ODzgR3Qqv8DFHTKS2E0nN.2fYk0pMvHc7v6NlAPVKm1h5xJUqLrKe";

/// Hashes passwords with bcrypt. A clone shares the threads and the queue.
#[derive(Debug, Clone)]
pub struct PasswordHasher {
    queue: Arc<Queue>,
    /// Tells the threads of each job. They end when all hashers are gone.
    jobs: Sender<()>,
    slots: Arc<Slots>,
    cost: u32,
    breached: Option<Arc<BreachedPasswords>>,
}

/// The slots of the queue: those that wait, and one for each thread.
#[derive(Debug)]
struct Slots {
    max: usize,
    max_per_address: usize,
    used: Mutex<UsedSlots>,
}

#[derive(Debug, Default)]
struct UsedSlots {
    total: usize,
    /// By network; calls without a known address share one entry.
    by_address: HashMap<Option<PeerAddress>, usize>,
}

/// A used slot, free again when dropped.
#[derive(Debug)]
struct SlotPermit {
    slots: Arc<Slots>,
    address: Option<PeerAddress>,
}

/// A slot in the queue, for one call.
#[derive(Debug)]
pub struct HashSlot {
    hasher: PasswordHasher,
    /// Shared with the job, which continues when its caller leaves in the middle.
    permit: Arc<SlotPermit>,
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

/// A task for a hashing thread, which tells it the cost of new hashes. It holds a permit.
type Job = Box<dyn FnOnce(u32) + Send>;

/// The jobs that wait, by network.
type Queue = Mutex<FairQueue<Option<PeerAddress>, Job>>;

impl PasswordHasher {
    /// Starts the threads. `cost` is the binary logarithm of the rounds. `queue` is the
    /// number of calls that may wait besides one for each thread.
    pub fn start(cost: u32, threads: usize, queue: usize) -> anyhow::Result<Self> {
        let (jobs, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let waiting = Arc::new(Mutex::new(FairQueue::default()));
        for number in 0..threads {
            let (receiver, waiting) = (Arc::clone(&receiver), Arc::clone(&waiting));
            thread::Builder::new()
                .name(format!("bcrypt-{number}"))
                .spawn(move || {
                    lower_priority();
                    run_jobs(&receiver, &waiting, cost);
                })?;
        }
        Ok(Self {
            queue: waiting,
            jobs,
            slots: Arc::new(Slots {
                max: threads + queue,
                max_per_address: ((threads + queue) / ADDRESS_FRACTION).max(threads),
                used: Mutex::default(),
            }),
            cost,
            breached: None,
        })
    }

    /// Refuses new passwords that are known from data breaches.
    #[must_use]
    pub fn refusing(self, breached: BreachedPasswords) -> Self {
        let breached = Some(Arc::new(breached));
        Self { breached, ..self }
    }

    /// Reserves a slot in the queue for a caller; `PasswordQueueFull` if there is none, or if
    /// the network of the caller's address uses its share.
    pub fn reserve_slot(&self, peer: Option<PeerAddress>) -> Result<HashSlot> {
        let permit = self.slots.acquire(peer.map(PeerAddress::network))?;
        Ok(HashSlot {
            hasher: self.clone(),
            permit: Arc::new(permit),
        })
    }
}

impl Slots {
    fn acquire(self: &Arc<Self>, address: Option<PeerAddress>) -> Result<SlotPermit> {
        let mut used = self.used.lock();
        let is_full = used.total >= self.max;
        let by_address = used.by_address.get(&address).copied().unwrap_or_default();
        if is_full || by_address >= self.max_per_address {
            match is_full {
                true => PASSWORDS.refused.inc(),
                false => PASSWORDS.address_refused.inc(),
            }
            return Err(Error::PasswordQueueFull(QUEUE_FULL_RETRY_DELAY));
        }
        used.total += 1;
        used.by_address.insert(address, by_address + 1);
        Ok(SlotPermit {
            slots: Arc::clone(self),
            address,
        })
    }
}

impl Drop for SlotPermit {
    fn drop(&mut self) {
        let mut used = self.slots.used.lock();
        used.total -= 1;
        if let Entry::Occupied(mut count) = used.by_address.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl HashSlot {
    /// Checks that a new password is strong for someone who knows the texts in `about`, and not
    /// known from a data breach.
    /// The estimate takes about as long as a hash.
    pub async fn choose(&self, text: &str, about: &[&str]) -> Result<Result<Password, Invalid>> {
        let text = Secret::new(text);
        let about: Vec<_> = about.iter().map(ToString::to_string).collect();
        let breached = self.hasher.breached.clone();
        let chosen = self.run(move |_| {
            let about: Vec<_> = about.iter().map(String::as_str).collect();
            let password = Password::parse_new(text.expose(), &about);
            let Some(breached) = breached else {
                return Ok(password);
            };
            match password {
                Ok(password) if breached.contains(&password)? => {
                    Ok(Err(Invalid::because(BREACHED)))
                }
                password => Ok(password),
            }
        });
        chosen.await?.map_err(Error::Internal)
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
        let permit = Arc::clone(&self.permit);
        let task: Job = Box::new(move |cost| {
            if !reply.is_closed() {
                let run = PASSWORDS.start_run();
                let result = task(cost);
                // Before the reply: the caller may come back at once for another slot.
                drop((run, permit));
                let _ = reply.send(result);
            }
        });
        PASSWORDS.waiting.inc();
        let hasher = &self.hasher;
        let ticket = hasher.queue.lock().push(Some(self.permit.address), task);
        let _waiting = WaitingJob {
            queue: &hasher.queue,
            ticket,
        };
        hasher
            .jobs
            .send(())
            .map_err(|_| Error::internal(anyhow::anyhow!("no hashing thread")))?;
        done.await.map_err(Error::internal)
    }
}

/// A job whose caller waits, until dropped.
struct WaitingJob<'a> {
    queue: &'a Queue,
    ticket: QueueTicket<Option<PeerAddress>>,
}

impl Drop for WaitingJob<'_> {
    fn drop(&mut self) {
        let job = self.queue.lock().remove(self.ticket);
        if job.is_some() {
            PASSWORDS.waiting.dec();
        }
    }
}

/// Lowers the priority of this thread. Only Linux has a priority for each thread.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "cannot lower the priority of a hashing thread");
    }
}

fn run_jobs(jobs: &Mutex<Receiver<()>>, queue: &Queue, cost: u32) {
    loop {
        let next = jobs.lock().recv();
        if next.is_err() {
            return;
        }
        let next = queue.lock().pop();
        let Some(task) = next else { continue };
        PASSWORDS.waiting.dec();
        // The panic hook logs a panic, the caller gets INTERNAL, and the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| task(cost)));
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
    use std::{
        net::IpAddr,
        pin::pin,
        sync::{Arc, mpsc},
    };

    use futures_util::poll;
    use parking_lot::Mutex;

    use super::{PasswordHasher, PasswordVerification};
    use crate::{
        domain::{Password, PeerAddress},
        error::Error,
    };

    fn address(number: u8) -> Option<PeerAddress> {
        Some(IpAddr::from([192, 0, 2, number]).into())
    }

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    async fn verify(
        hasher: &PasswordHasher,
        text: &str,
        hash: Option<String>,
    ) -> PasswordVerification {
        let slot = hasher.reserve_slot(None).unwrap();
        slot.verify(password(text), hash).await.unwrap()
    }

    #[tokio::test]
    async fn own_hashes_and_hashes_of_the_predecessor_verify() {
        let hasher = PasswordHasher::start(4, 1, 4).unwrap();
        let raised = PasswordHasher::start(11, 1, 4).unwrap();
        let slot = hasher.reserve_slot(None).unwrap();
        let own = slot.hash(password("correct horse")).await.unwrap();
        drop(slot);
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
        let slots = [1, 2].map(|number| hasher.reserve_slot(address(number)).unwrap());
        let refused = hasher.reserve_slot(address(3)).unwrap_err();
        assert!(matches!(refused, Error::PasswordQueueFull(_)));

        drop(slots);
        assert!(hasher.reserve_slot(address(3)).is_ok());
    }

    #[tokio::test]
    async fn addresses_take_turns() {
        let hasher = PasswordHasher::start(4, 1, 31).unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        let slot = hasher.reserve_slot(address(9)).unwrap();
        let mut first = pin!(slot.run(move |_| blocked.recv()));
        assert!(poll!(first.as_mut()).is_pending());
        let order = Arc::new(Mutex::new(Vec::new()));
        let addresses = [1, 1, 1, 2];
        let slots = addresses.map(|number| hasher.reserve_slot(address(number)).unwrap());
        let mut waiting = Vec::new();
        for (slot, number) in slots.iter().zip(addresses) {
            let order = Arc::clone(&order);
            let mut task = Box::pin(slot.run(move |_| order.lock().push(number)));
            assert!(poll!(task.as_mut()).is_pending());
            waiting.push(task);
        }

        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock(), [1, 2, 1, 1]);
    }

    #[tokio::test]
    async fn jobs_of_callers_that_went_away_cost_their_address_no_turn() {
        let hasher = PasswordHasher::start(4, 1, 31).unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        let slot = hasher.reserve_slot(address(9)).unwrap();
        let mut first = pin!(slot.run(move |_| blocked.recv()));
        assert!(poll!(first.as_mut()).is_pending());
        let order = Arc::new(Mutex::new(Vec::new()));
        let jobs = [
            (1, "left"),
            (1, "left"),
            (1, "here"),
            (2, "here"),
            (2, "here"),
        ];
        let slots = jobs.map(|(number, _)| hasher.reserve_slot(address(number)).unwrap());
        let mut waiting = Vec::new();
        for (slot, (number, state)) in slots.iter().zip(jobs) {
            let order = Arc::clone(&order);
            let mut job = Box::pin(slot.run(move |_| order.lock().push(number)));
            assert!(poll!(job.as_mut()).is_pending());
            if state == "here" {
                waiting.push(job);
            }
        }

        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        for job in waiting {
            job.await.unwrap();
        }
        assert_eq!(*order.lock(), [1, 2, 2]);
    }

    #[tokio::test]
    async fn an_address_has_an_eighth_of_the_queue() {
        let hasher = PasswordHasher::start(4, 1, 15).unwrap();
        let slots = [(); 2].map(|()| hasher.reserve_slot(address(1)).unwrap());
        let refused = hasher.reserve_slot(address(1)).unwrap_err();
        assert!(matches!(refused, Error::PasswordQueueFull(_)));
        assert!(hasher.reserve_slot(address(2)).is_ok());
        assert!(hasher.reserve_slot(None).is_ok());

        drop(slots);
        assert!(hasher.reserve_slot(address(1)).is_ok());
    }
}
