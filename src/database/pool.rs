//! Connections that are used again.
//!
//! Whatever happens to a connection, its place is free within [`PATIENCE`]: one
//! that failed is dropped at once, without a word to a server that may not listen;
//! one that was left in the middle is asked to roll back, and dropped if it does
//! not answer. One that comes back sound is not asked anything.

use std::{
    collections::VecDeque,
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, Error as Failure};
use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    autocommit::Lender,
    connection::{Line, LineState},
    dialect::{Address, Server},
    errors::is_unavailable,
};
use crate::random::random_fraction;

/// How long a connection that was left in the middle may take to roll back, and one
/// that is not needed any more to say good-bye.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// After how long without use a connection is asked whether it stands.
const DOUBTED_AFTER: Duration = Duration::from_secs(5);

/// How long it may take to answer that.
const PING: Duration = Duration::from_millis(300);

/// After how long without use a connection is closed.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// How long to wait before connecting again, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// How many connections there may be, and how long one waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolLimits {
    /// How many there may be.
    pub size: u32,
    /// How long a call waits for one.
    pub acquire: Duration,
    /// How long a statement may take.
    pub statement: Duration,
}

/// Connections to one server. A clone shares them.
pub struct Pool<DB: Server> {
    shared: Arc<Shared<DB>>,
}

/// What the clones share.
pub(super) struct Shared<DB: Server> {
    address: Address<DB>,
    limits: PoolLimits,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Whether the last try to connect failed.
    away: AtomicBool,
    /// Held by who tries alone whether the server is back: else those who wait would
    /// fill its queue with connections that nobody needs any more.
    scout: AsyncMutex<()>,
    shelf: Mutex<Shelf<DB>>,
}

/// What nobody uses, the last used at the end.
struct Shelf<DB: Server> {
    idle: VecDeque<Idle<DB>>,
    /// When a connection last failed: what has been idle since before that may have too.
    failed: Option<Instant>,
    closed: bool,
}

struct Idle<DB: Server> {
    line: Line<DB>,
    age: Age,
    since: Instant,
}

/// Until when a connection is used.
#[derive(Clone, Copy)]
pub(super) struct Age {
    until: Option<Instant>,
}

/// How many connections of a pool there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// How many there may be.
    pub size: usize,
    /// How many are open and not in use.
    pub idle: usize,
    /// How many are in use, or being opened.
    pub in_use: usize,
    /// How many calls wait for one.
    pub waiting: usize,
}

impl<DB: Server> Pool<DB> {
    /// A pool without a connection: they are made when they are needed.
    pub(super) fn new(address: Address<DB>, limits: PoolLimits) -> Self {
        let places = usize::try_from(limits.size).unwrap_or(usize::MAX);
        Self {
            shared: Arc::new(Shared {
                address,
                limits,
                places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
                waiting: AtomicUsize::new(0),
                away: AtomicBool::new(false),
                scout: AsyncMutex::new(()),
                shelf: Mutex::new(Shelf {
                    idle: VecDeque::new(),
                    failed: None,
                    closed: false,
                }),
            }),
        }
    }

    /// The server.
    pub(crate) fn address(&self) -> &Address<DB> {
        &self.shared.address
    }

    /// The most connections.
    pub(crate) fn size(&self) -> usize {
        usize::try_from(self.shared.limits.size).unwrap_or(usize::MAX)
    }

    /// How long a call waits for a connection.
    pub(crate) fn acquire_timeout(&self) -> Duration {
        self.shared.limits.acquire
    }

    /// A connection, as soon as there is one; callers are served in their order.
    pub(super) async fn take(&self) -> Result<Held<DB>, Failure> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.limits.acquire;
        let place = {
            let _waiting = Waiting::in_line(&shared.waiting);
            let place = timeout_at(deadline, Arc::clone(&shared.places).acquire_owned()).await;
            place.map_err(|_| Failure::PoolTimedOut)?
        };
        let place = place.map_err(|_| Failure::PoolClosed)?;
        let (line, age) = match shared.sound().await {
            Some(found) => found,
            None => shared.connect(deadline).await?,
        };
        Ok(Held::new(line, age, place, Arc::clone(shared)))
    }

    /// How many connections there are.
    pub(super) fn state(&self) -> PoolState {
        let size = usize::try_from(self.shared.limits.size).unwrap_or(usize::MAX);
        PoolState {
            size,
            idle: self.shared.shelf().idle.len(),
            in_use: size.saturating_sub(self.shared.places.available_permits()),
            waiting: self.shared.waiting.load(Ordering::Relaxed),
        }
    }

    /// Closes all connections, after the statements that run on them.
    pub(super) async fn close(&self) {
        self.shared.shelf().closed = true;
        let all = self.shared.places.acquire_many(self.shared.limits.size);
        let _all = all.await;
        self.shared.places.close();
        let idle = std::mem::take(&mut self.shared.shelf().idle);
        for idle in idle {
            part(idle.line).await;
        }
    }
}

impl<DB: Server> Shared<DB> {
    fn shelf(&self) -> MutexGuard<'_, Shelf<DB>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, if it stands.
    async fn sound(&self) -> Option<(Line<DB>, Age)> {
        loop {
            let (mut idle, doubted) = {
                let mut shelf = self.shelf();
                let idle = shelf.idle.pop_back()?;
                let doubted = idle.since.elapsed() >= DOUBTED_AFTER
                    || shelf.failed.is_some_and(|failed| idle.since <= failed);
                (idle, doubted)
            };
            if !doubted || matches!(timeout(PING, idle.line.raw.ping()).await, Ok(Ok(()))) {
                return Some((idle.line, idle.age));
            }
            self.clear_unused_since(idle.since);
        }
    }

    /// Notes that a connection has failed.
    pub(super) fn fail(&self) {
        self.shelf().failed = Some(Instant::now());
    }

    /// Where one does not answer, the others that nobody has used since will not either.
    fn clear_unused_since(&self, moment: Instant) {
        let mut shelf = self.shelf();
        shelf.failed = Some(Instant::now());
        shelf.idle.retain(|idle| idle.since > moment);
    }

    /// A new connection. While the server is only away for a moment, it is called again.
    async fn connect(&self, deadline: Instant) -> Result<(Line<DB>, Age), Failure> {
        let mut wait = BACK_OFF.0;
        loop {
            let connecting = timeout_at(deadline, self.connect_in_turn()).await;
            let failure = match connecting {
                Err(_) => {
                    self.away.store(true, Ordering::Relaxed);
                    return Err(Failure::PoolTimedOut);
                }
                Ok(Ok(raw)) => {
                    let span = DB::LIFETIME.map(|span| span.mul_f64(0.9 + random_fraction() / 5.0));
                    let until = span.map(|span| Instant::now() + span);
                    return Ok((Line::new(raw, self.limits.statement), Age { until }));
                }
                Ok(Err(failure)) => failure,
            };
            if !is_unavailable(&failure) || Instant::now() + wait >= deadline {
                return Err(failure);
            }
            sleep(wait).await;
            wait = (2 * wait).min(BACK_OFF.1);
        }
    }

    async fn connect_in_turn(&self) -> Result<DB::Connection, Failure> {
        let mut alone = None;
        if self.away.load(Ordering::Relaxed) {
            // Whoever came before may have found it back.
            alone = Some(self.scout.lock().await).filter(|_| self.away.load(Ordering::Relaxed));
        }
        let connected = self.connect_once().await;
        self.away.store(connected.is_err(), Ordering::Relaxed);
        drop(alone);
        connected
    }

    async fn connect_once(&self) -> Result<DB::Connection, Failure> {
        let mut raw = self.address.connect().await?;
        DB::welcome(&mut raw).await?;
        Ok(raw)
    }

    /// Takes back a connection that stands.
    pub(super) fn shelve(&self, line: Line<DB>, age: Age) {
        let now = Instant::now();
        let mut shelf = self.shelf();
        if shelf.closed || age.until.is_some_and(|until| until <= now) {
            drop(shelf);
            return part_soon(line);
        }
        let since = now;
        shelf.idle.push_back(Idle { line, age, since });
        let unused = shelf
            .idle
            .front()
            .is_some_and(|idle| now - idle.since > IDLE);
        let unused = unused.then(|| shelf.idle.pop_front()).flatten();
        drop(shelf);
        if let Some(unused) = unused {
            part_soon(unused.line);
        }
    }
}

impl<DB: Server> Lender for Pool<DB> {
    type Server = DB;
    type Loan = Held<DB>;

    async fn lend(&self) -> Result<Held<DB>, Failure> {
        self.take().await
    }

    async fn give_back(_: Held<DB>, _: bool) -> Result<(), Failure> {
        Ok(())
    }
}

impl<DB: Server> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        let shared = Arc::clone(&self.shared);
        Self { shared }
    }
}

impl<DB: Server> fmt::Debug for Pool<DB> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(formatter)
    }
}

/// Counts a caller for as long as it waits.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn in_line(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes a connection with a good-bye.
async fn part<DB: Server>(line: Line<DB>) {
    // Whether it was heard does not matter.
    let _ = timeout(PATIENCE, line.raw.close()).await;
}

/// The same, for those who cannot wait.
fn part_soon<DB: Server>(line: Line<DB>) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(part(line));
    }
}

/// A connection that somebody uses. Dropping it gives it back.
pub struct Held<DB: Server> {
    /// There until it is dropped.
    line: Option<Line<DB>>,
    place: Option<OwnedSemaphorePermit>,
    age: Age,
    pub(super) in_transaction: bool,
    shared: Arc<Shared<DB>>,
}

impl<DB: Server> Held<DB> {
    pub(super) fn new(
        line: Line<DB>,
        age: Age,
        place: OwnedSemaphorePermit,
        shared: Arc<Shared<DB>>,
    ) -> Self {
        Self {
            line: Some(line),
            place: Some(place),
            age,
            in_transaction: false,
            shared,
        }
    }

    /// Gives back a connection that was left in the middle, if it can be brought to order.
    async fn recover(mut line: Line<DB>, in_transaction: bool, age: Age, shared: Arc<Shared<DB>>) {
        let order = async {
            match in_transaction {
                true => line.run("rollback").await,
                false => line.raw.ping().await,
            }
        };
        match timeout(PATIENCE, order).await {
            Ok(Ok(())) => shared.shelve(line, age),
            _ => shared.fail(),
        }
    }
}

impl<DB: Server> Drop for Held<DB> {
    fn drop(&mut self) {
        let (Some(line), place) = (self.line.take(), self.place.take()) else {
            return;
        };
        match (line.state(), self.in_transaction) {
            (LineState::Sound, false) => self.shared.shelve(line, self.age),
            (LineState::Broken, _) => self.shared.fail(),
            (_, in_transaction) => {
                let recovering = Self::recover(line, in_transaction, self.age, self.shared.clone());
                let recovering = async move {
                    recovering.await;
                    drop(place);
                };
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(recovering);
                }
            }
        }
    }
}

impl<DB: Server> Deref for Held<DB> {
    type Target = Line<DB>;

    fn deref(&self) -> &Line<DB> {
        self.line.as_ref().expect("it is there until it is dropped")
    }
}

impl<DB: Server> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut Line<DB> {
        self.line.as_mut().expect("it is there until it is dropped")
    }
}
