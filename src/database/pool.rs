//! A pool of connections.
//!
//! The permit of a connection is free within [`CLOSE_TIMEOUT`] after its last use,
//! whatever happened to it. A failed connection is dropped at once, without a message to
//! a server that may not read it. A connection in an unfinished transaction is rolled back,
//! and dropped if the server does not answer. A healthy connection is not pinged. Single
//! reads are 1.1 to 1.4 times as fast as on [`sqlx_postgres::PgPool`], which pings
//! (`tests/run bench --bench reads`).

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::Connection as _;
use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    autocommit::Acquire,
    connect_error::ConnectError,
    connection::{Connection, ConnectionState},
    dialect::Dialect,
    errors::is_unavailable,
    idle_list::IdleList,
    read_batcher::BatchLimits,
};
use crate::{backoff::Backoff, random::random_fraction};

/// The timeout to roll back an unfinished transaction, and to close a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The timeout of a ping.
const PING_TIMEOUT: Duration = Duration::from_millis(300);

/// The delays between attempts to connect to an unavailable server.
const CONNECT_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(10), Duration::from_millis(200));

/// The limits of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolLimits {
    /// The maximum number of connections.
    pub size: u32,
    /// The maximum time that a call waits for a connection.
    pub acquire_timeout: Duration,
    /// The maximum time that a statement may take.
    pub statement_timeout: Duration,
}

/// A pool of connections to one server. A clone shares them.
pub struct Pool<DB: Dialect>(Arc<PoolInner<DB>>);

struct PoolInner<DB: Dialect> {
    connector: DB::Connector,
    limits: PoolLimits,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Whether the last attempt to connect failed.
    is_down: AtomicBool,
    /// Held during an attempt to connect to a server that is down. Otherwise all waiting
    /// calls would fill its backlog with connections that are not needed any more.
    connect_lock: AsyncMutex<()>,
    idle: Mutex<IdleList<DB>>,
}

/// The number of connections of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// The maximum number of connections.
    pub size: usize,
    /// Open connections that are not in use.
    pub idle: usize,
    /// Connections that are in use or being opened.
    pub in_use: usize,
    /// Calls that wait for a connection.
    pub waiting: usize,
}

impl<DB: Dialect> Pool<DB> {
    /// A pool without connections: one is opened when it is needed.
    pub(super) fn new(connector: DB::Connector, limits: PoolLimits) -> Self {
        let size = usize::try_from(limits.size).unwrap_or(usize::MAX);
        Self(Arc::new(PoolInner {
            connector,
            limits,
            permits: Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            connect_lock: AsyncMutex::new(()),
            idle: Mutex::new(IdleList::new()),
        }))
    }

    /// What opens connections.
    pub(super) fn connector(&self) -> &DB::Connector {
        &self.0.connector
    }

    fn size(&self) -> usize {
        usize::try_from(self.0.limits.size).unwrap_or(usize::MAX)
    }

    /// The limits of batched reads of one kind. All connections but one, which is left to
    /// other statements, run single reads; half of them run batches.
    pub(crate) fn batch_limits(&self) -> BatchLimits {
        BatchLimits {
            statements: self.size().saturating_sub(1),
            batches: self.size() / 2,
        }
    }

    /// The maximum time that a call waits for a connection.
    pub(crate) fn acquire_timeout(&self) -> Duration {
        self.0.limits.acquire_timeout
    }

    /// The state of the pool.
    pub(super) fn state(&self) -> PoolState {
        PoolState {
            size: self.size(),
            idle: self.0.idle.lock().len(),
            in_use: self
                .size()
                .saturating_sub(self.0.permits.available_permits()),
            waiting: self.0.waiting.load(Ordering::Relaxed),
        }
    }

    /// Closes all connections after their running statements.
    pub(super) async fn close(&self) {
        self.0.idle.lock().close();
        let all = self.0.permits.acquire_many(self.0.limits.size);
        let _all = all.await;
        self.0.permits.close();
        let idle = self.0.idle.lock().drain();
        for idle in idle {
            close(idle.connection).await;
        }
    }
}

impl<DB: Dialect> Pool<DB> {
    /// Waits for a connection; callers are served in their order.
    async fn take(&self) -> Result<PooledConnection<DB>, sqlx::Error> {
        let pool = &self.0;
        let deadline = Instant::now() + pool.limits.acquire_timeout;
        let permit = {
            let _waiting = WaitingGuard::new(&pool.waiting);
            let permit = timeout_at(deadline, Arc::clone(&pool.permits).acquire_owned()).await;
            permit.map_err(|_| sqlx::Error::PoolTimedOut)?
        };
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        let connection = match pool.take_idle().await {
            Some(connection) => connection,
            None => pool.connect(deadline).await?,
        };
        Ok(PooledConnection {
            connection: Some(connection),
            permit: Some(permit),
            in_transaction: false,
            pool: Arc::clone(pool),
        })
    }

    /// Begins a transaction with a statement such as `begin`.
    pub(super) async fn begin(
        &self,
        begin: &'static str,
    ) -> Result<PooledConnection<DB>, sqlx::Error> {
        let mut connection = self.take().await?;
        connection.in_transaction = true;
        connection.run(DB::begin(&self.0.connector, begin)).await?;
        Ok(connection)
    }
}

impl<DB: Dialect> Acquire for Pool<DB> {
    type Dialect = DB;
    type Guard = PooledConnection<DB>;

    /// Waits for a connection. Without a session of its own, the statement gets a transaction.
    async fn acquire(&self) -> Result<PooledConnection<DB>, sqlx::Error> {
        match DB::has_sessions(&self.0.connector) {
            true => self.take().await,
            false => self.begin("begin").await,
        }
    }

    async fn release(connection: PooledConnection<DB>, succeeded: bool) -> Result<(), sqlx::Error> {
        match connection.in_transaction {
            true => connection.end(succeeded).await,
            false => Ok(()),
        }
    }
}

impl<DB: Dialect> PoolInner<DB> {
    /// The last used idle connection that answers.
    async fn take_idle(&self) -> Option<Connection<DB>> {
        loop {
            let (mut idle, may_have_failed) = self.idle.lock().pop()?;
            if !may_have_failed
                || matches!(
                    timeout(
                        PING_TIMEOUT,
                        DB::ping(&self.connector, &mut idle.connection.raw)
                    )
                    .await,
                    Ok(Ok(()))
                )
            {
                return Some(idle.connection);
            }
            self.idle.lock().drop_unused_since(idle.since);
        }
    }

    /// Opens a connection, and tries again while the server is unavailable.
    async fn connect(&self, deadline: Instant) -> Result<Connection<DB>, sqlx::Error> {
        let mut failures = 0;
        loop {
            let error = match timeout_at(deadline, self.connect_once()).await {
                Err(_) => {
                    self.is_down.store(true, Ordering::Relaxed);
                    return Err(sqlx::Error::PoolTimedOut);
                }
                Ok(Ok(raw)) => {
                    let mut connection = Connection::new(raw, self.limits.statement_timeout);
                    connection.names_statements = DB::has_sessions(&self.connector);
                    // Connections that were opened together do not expire together.
                    connection.expires_at = DB::MAX_LIFETIME.map(|lifetime| {
                        Instant::now() + lifetime.mul_f64(0.9 + random_fraction() / 5.0)
                    });
                    return Ok(connection);
                }
                Ok(Err(error)) => error,
            };
            failures += 1;
            let delay = CONNECT_BACKOFF.delay(failures);
            let is_permanent = match ConnectError::of(&error) {
                Some(failure) => failure.is_permanent,
                None => !is_unavailable(&error),
            };
            if is_permanent || Instant::now() + delay >= deadline {
                return Err(error);
            }
            sleep(delay).await;
        }
    }

    /// Opens a connection, one at a time while the server is down.
    async fn connect_once(&self) -> Result<DB::Connection, sqlx::Error> {
        let mut lock = None;
        if self.is_down.load(Ordering::Relaxed) {
            // Meanwhile another call may have connected.
            lock = Some(self.connect_lock.lock().await)
                .filter(|_| self.is_down.load(Ordering::Relaxed));
        }
        let connected = DB::connect(&self.connector).await;
        self.is_down.store(connected.is_err(), Ordering::Relaxed);
        drop(lock);
        connected
    }

    /// Takes back a healthy connection.
    fn put_back(&self, connection: Connection<DB>) {
        let unneeded = self.idle.lock().push(connection);
        if let (Some(connection), Ok(runtime)) = (unneeded, Handle::try_current()) {
            runtime.spawn(close(connection));
        }
    }
}

impl<DB: Dialect> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<DB: Dialect> fmt::Debug for Pool<DB> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(formatter)
    }
}

/// Counts a call while it waits.
pub(super) struct WaitingGuard<'a>(&'a AtomicUsize);

impl<'a> WaitingGuard<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes a connection, and notifies the server if it answers in time.
async fn close<DB: Dialect>(connection: Connection<DB>) {
    // The connection is gone in any case.
    let _ = timeout(CLOSE_TIMEOUT, connection.raw.close()).await;
}

/// A connection in use. Dropping it gives it back to the pool.
pub struct PooledConnection<DB: Dialect> {
    /// `None` only during the drop.
    connection: Option<Connection<DB>>,
    permit: Option<OwnedSemaphorePermit>,
    pub(super) in_transaction: bool,
    pool: Arc<PoolInner<DB>>,
}

/// Gives back a connection with an unfinished statement or transaction, unless it fails.
async fn recover<DB: Dialect>(
    mut connection: Connection<DB>,
    in_transaction: bool,
    pool: &PoolInner<DB>,
) {
    let recovering = async {
        match in_transaction {
            true => connection.run("rollback").await,
            false => connection.raw.ping().await,
        }
    };
    match timeout(CLOSE_TIMEOUT, recovering).await {
        Ok(Ok(())) => pool.put_back(connection),
        _ => pool.idle.lock().record_failure(),
    }
}

impl<DB: Dialect> PooledConnection<DB> {
    /// Ends the transaction.
    pub(super) async fn end(mut self, commit: bool) -> Result<(), sqlx::Error> {
        self.run(if commit { "commit" } else { "rollback" }).await?;
        self.in_transaction = false;
        Ok(())
    }
}

impl<DB: Dialect> Drop for PooledConnection<DB> {
    fn drop(&mut self) {
        let (Some(connection), permit) = (self.connection.take(), self.permit.take()) else {
            return;
        };
        match (connection.state(), self.in_transaction) {
            (ConnectionState::Healthy, false) => self.pool.put_back(connection),
            (ConnectionState::Broken, _) => self.pool.idle.lock().record_failure(),
            (_, in_transaction) => {
                let pool = Arc::clone(&self.pool);
                let recovering = async move {
                    recover(connection, in_transaction, &pool).await;
                    drop(permit);
                };
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(recovering);
                }
            }
        }
    }
}

impl<DB: Dialect> Deref for PooledConnection<DB> {
    type Target = Connection<DB>;

    fn deref(&self) -> &Connection<DB> {
        self.connection
            .as_ref()
            .expect("it is there until the drop")
    }
}

impl<DB: Dialect> DerefMut for PooledConnection<DB> {
    fn deref_mut(&mut self) -> &mut Connection<DB> {
        self.connection
            .as_mut()
            .expect("it is there until the drop")
    }
}
