//! A pool of connections.
//!
//! A failed connection is dropped at once, without a message to a server that may not read
//! it. A connection in an unfinished transaction is rolled back, and dropped if the server
//! does not answer within [`CLOSE_TIMEOUT`]. A healthy connection is not pinged. Single reads
//! are 1.1 to 1.4 times as fast as on [`sqlx_postgres::PgPool`], which pings
//! (`tests/run bench --bench reads`).
//!
//! The permit of a dropped connection is free when the server has let go of it
//! (`abandoned_sessions`), so that the server never has more sessions than the pool has
//! permits, except through a pooler in transaction mode. Writes may take only some of the
//! permits: reads continue while all writes wait for something, such as a synchronous standby.
//! Those who wait take turns ([`Requester`](super::Requester)).

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
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    abandoned_sessions::AbandonedSessions,
    autocommit::Acquire,
    connect_error::ConnectError,
    connection::{Connection, ConnectionState},
    dialect::Dialect,
    errors::is_unavailable,
    idle_list::IdleList,
    pool_permits::{PoolPermit, PoolPermits},
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
pub struct Pool<DB: Dialect> {
    inner: Arc<PoolInner<DB>>,
    /// Whether this handle is for writes.
    writes: bool,
}

struct PoolInner<DB: Dialect> {
    connector: DB::Connector,
    limits: PoolLimits,
    permits: PoolPermits,
    abandoned: AbandonedSessions<DB>,
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
        let inner = PoolInner {
            abandoned: AbandonedSessions::new(connector.clone(), limits.acquire_timeout),
            connector,
            limits,
            permits: PoolPermits::new(size),
            waiting: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            connect_lock: AsyncMutex::new(()),
            idle: Mutex::new(IdleList::new()),
        };
        Self {
            inner: Arc::new(inner),
            writes: false,
        }
    }

    /// The same pool, for writes.
    pub(super) fn for_writes(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            writes: true,
        }
    }

    /// What opens connections.
    pub(super) fn connector(&self) -> &DB::Connector {
        &self.inner.connector
    }

    fn size(&self) -> usize {
        usize::try_from(self.inner.limits.size).unwrap_or(usize::MAX)
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
        self.inner.limits.acquire_timeout
    }

    /// The state of the pool.
    pub(super) fn state(&self) -> PoolState {
        PoolState {
            size: self.size(),
            idle: self.inner.idle.lock().len(),
            in_use: self.size().saturating_sub(self.inner.permits.available()),
            waiting: self.inner.waiting.load(Ordering::Relaxed),
        }
    }

    /// Closes all connections after their running statements. Does not wait for sessions that
    /// were given up.
    pub(super) async fn close(&self) {
        let pool = &self.inner;
        pool.idle.lock().close();
        pool.abandoned.close();
        pool.permits.close().await;
        let idle = pool.idle.lock().drain();
        for idle in idle {
            close(idle.connection).await;
        }
    }
}

impl<DB: Dialect> Pool<DB> {
    /// Waits for a connection; requesters take turns.
    async fn take(&self) -> Result<PooledConnection<DB>, sqlx::Error> {
        let pool = &self.inner;
        let deadline = Instant::now() + pool.limits.acquire_timeout;
        let permit = {
            let _waiting = WaitingGuard::new(&pool.waiting);
            let permit = timeout_at(deadline, pool.permits.acquire(self.writes)).await;
            permit.map_err(|_| sqlx::Error::PoolTimedOut)??
        };
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
        connection
            .run(DB::begin(&self.inner.connector, begin))
            .await?;
        Ok(connection)
    }
}

impl<DB: Dialect> Acquire for Pool<DB> {
    type Dialect = DB;
    type Guard = PooledConnection<DB>;

    /// Waits for a connection. Without a session of its own, the statement gets a transaction.
    async fn acquire(&self) -> Result<PooledConnection<DB>, sqlx::Error> {
        match DB::has_sessions(&self.inner.connector) {
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
                Ok(Ok(mut connection)) => {
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
    async fn connect_once(&self) -> Result<Connection<DB>, sqlx::Error> {
        let mut lock = None;
        if self.is_down.load(Ordering::Relaxed) {
            // Meanwhile another call may have connected.
            lock = Some(self.connect_lock.lock().await)
                .filter(|_| self.is_down.load(Ordering::Relaxed));
        }
        let connected = Connection::open(&self.connector, self.limits.statement_timeout).await;
        self.is_down.store(connected.is_err(), Ordering::Relaxed);
        drop(lock);
        connected
    }

    /// Drops a connection. Its permit is free when the server has let go of its session.
    fn abandon(&self, connection: Connection<DB>, permit: PoolPermit) {
        self.idle.lock().record_failure();
        if let Some(session) = connection.into_session() {
            self.abandoned.add(session, permit);
        }
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
        Self {
            inner: Arc::clone(&self.inner),
            writes: self.writes,
        }
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
    permit: Option<PoolPermit>,
    pub(super) in_transaction: bool,
    pool: Arc<PoolInner<DB>>,
}

/// Gives back a connection with an unfinished statement or transaction, unless it fails.
async fn recover<DB: Dialect>(
    mut connection: Connection<DB>,
    in_transaction: bool,
    permit: PoolPermit,
    pool: &PoolInner<DB>,
) {
    let recovering = async {
        if connection.state() == ConnectionState::Unfinished {
            connection.interrupt();
            connection.raw.ping().await?;
        }
        match in_transaction {
            true => connection.run("rollback").await,
            false => Ok(()),
        }
    };
    match timeout(CLOSE_TIMEOUT, recovering).await {
        Ok(Ok(())) => pool.put_back(connection),
        _ => pool.abandon(connection, permit),
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
        let (Some(connection), Some(permit)) = (self.connection.take(), self.permit.take()) else {
            return;
        };
        match (connection.state(), self.in_transaction) {
            (ConnectionState::Healthy, false) => self.pool.put_back(connection),
            (ConnectionState::Broken, _) => self.pool.abandon(connection, permit),
            (_, in_transaction) => {
                let pool = Arc::clone(&self.pool);
                let recovering =
                    async move { recover(connection, in_transaction, permit, &pool).await };
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
