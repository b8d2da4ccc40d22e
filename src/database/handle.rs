use std::{sync::Arc, time::Duration};

use sqlx_postgres::Postgres;
use sqlx_sqlite::Sqlite;
use tokio::time::sleep;

use super::{
    ChangeNotifications,
    autocommit::{Acquire, Autocommit},
    batches::{Batch, DeletedBatch},
    clock_skew::ClockSkew,
    dialect,
    engine::Engine,
    local_state::LocalState,
    options::{DatabaseOptions, Target},
    pool::{Pool, PoolLimits, PoolState},
    sqlite_writer::SqliteWriter,
    transaction::{QueuedTransaction, QueuedWrite, SqliteTransaction, Transaction},
};
use crate::{
    backoff::Backoff,
    domain::{ProjectId, Time},
    error::{Error, Result},
};

/// The maximum number of retries of a transaction.
const MAX_RETRIES: u32 = 4;

/// The delays before the retries.
const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(160));

/// Runs a statement that reads.
pub type ReadExecutor<'a> = Engine<Autocommit<'a, Pool<Postgres>>, Autocommit<'a, Pool<Sqlite>>>;

/// Runs a statement that writes.
pub type WriteExecutor<'a> = Engine<Autocommit<'a, Pool<Postgres>>, Autocommit<'a, SqliteWriter>>;

/// The database on either engine. A clone shares the connections.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) pools: Pools,
    change_notifications: ChangeNotifications,
    pub(super) clock_skew: ClockSkew,
    local_state: LocalState,
}

/// The connections.
#[derive(Debug, Clone)]
pub enum Pools {
    /// PostgreSQL: one pool, of which writes may not take every connection.
    Postgres {
        /// For writes.
        writer: Pool<Postgres>,
        /// For reads.
        reader: Pool<Postgres>,
    },
    /// SQLite.
    Sqlite {
        /// The one connection that writes.
        writer: SqliteWriter,
        /// The read-only connections.
        reader: Pool<Sqlite>,
    },
}

impl Database {
    /// Creates the pools. A connection is opened when it is needed.
    pub fn open(options: &DatabaseOptions) -> Self {
        let limits = PoolLimits {
            size: options.pool_size,
            acquire_timeout: options.acquire_timeout,
            statement_timeout: options.statement_timeout,
        };
        let pools = match &options.target {
            Target::Postgres(servers) => {
                let reader = Pool::new(dialect::postgres_connector(servers, options), limits);
                Pools::Postgres {
                    writer: reader.for_writes(),
                    reader,
                }
            }
            Target::Sqlite(file) => {
                let (writing, reading) = dialect::sqlite_options(file, options);
                Pools::Sqlite {
                    writer: SqliteWriter::new(writing, limits),
                    reader: Pool::new(reading, limits),
                }
            }
        };
        Self {
            pools,
            change_notifications: ChangeNotifications::default(),
            clock_skew: ClockSkew::default(),
            local_state: LocalState::default(),
        }
    }

    /// Runs statements that read, each on its own.
    pub(crate) fn reader(&self) -> ReadExecutor<'_> {
        match &self.pools {
            Pools::Postgres { reader, .. } => Engine::Postgres(Autocommit(reader)),
            Pools::Sqlite { reader, .. } => Engine::Sqlite(Autocommit(reader)),
        }
    }

    /// Runs statements that write, each on its own.
    pub(crate) fn writer(&self) -> WriteExecutor<'_> {
        match &self.pools {
            Pools::Postgres { writer, .. } => Engine::Postgres(Autocommit(writer)),
            Pools::Sqlite { writer, .. } => Engine::Sqlite(Autocommit(writer)),
        }
    }

    /// Runs a whole transaction that writes, from after its begin to its commit. Runs it again
    /// after a deadlock or a serialization failure, side effects outside the database included.
    pub(crate) async fn transaction<T, F>(&self, run: impl Fn(Transaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut retries = 0;
        loop {
            let done = match self.begin().await {
                Ok(transaction) => run(transaction).await,
                Err(error) => Err(error),
            };
            if let Some(done) = self.settle(done, &mut retries).await {
                return done;
            }
        }
    }

    /// The same for a transaction of queued statements only, which on SQLite is one trip.
    pub(crate) async fn queued_transaction<T, F>(
        &self,
        run: impl Fn(QueuedTransaction) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut retries = 0;
        loop {
            let done = match self.begin_queued().await {
                Ok(transaction) => run(transaction).await,
                Err(error) => Err(error),
            };
            if let Some(done) = self.settle(done, &mut retries).await {
                return done;
            }
        }
    }

    /// The result of a transaction; `None`, after a delay, if it is to run again.
    async fn settle<T>(&self, done: Result<T>, retries: &mut u32) -> Option<Result<T>> {
        match done {
            Err(Error::LostRace(cause)) if *retries < MAX_RETRIES => {
                tracing::debug!(%cause, retries, "retrying a transaction");
                *retries += 1;
                sleep(RETRY_BACKOFF.delay(*retries)).await;
                None
            }
            Err(Error::LostRace(_)) => Some(Err(Error::ConcurrentChange)),
            Err(error @ Error::DatabaseUnavailable(_)) => Some(Err(error)),
            // It may depend on writes of others that are not committed yet.
            Err(refusal) => Some(match self.wait_for_commit().await {
                Ok(()) => Err(refusal),
                Err(error) => Err(error),
            }),
            done => Some(done),
        }
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Transaction> {
        Ok(match &self.pools {
            Pools::Postgres { writer, .. } => Engine::Postgres(writer.begin("begin").await?),
            Pools::Sqlite { writer, .. } => {
                Engine::Sqlite(SqliteTransaction::Write(writer.acquire().await?))
            }
        })
    }

    /// Begins a transaction of queued statements only.
    async fn begin_queued(&self) -> Result<QueuedTransaction> {
        Ok(match &self.pools {
            Pools::Postgres { writer, .. } => Engine::Postgres(writer.begin("begin").await?),
            Pools::Sqlite { writer, .. } => Engine::Sqlite(QueuedWrite::new(writer.clone())),
        })
    }

    /// Begins a read-only transaction on a snapshot of the database.
    pub(crate) async fn begin_read_only(&self) -> Result<Transaction> {
        const BEGIN: &str = "begin isolation level repeatable read read only";
        Ok(match &self.pools {
            Pools::Postgres { reader, .. } => Engine::Postgres(reader.begin(BEGIN).await?),
            Pools::Sqlite { reader, .. } => {
                let connection = reader.begin("begin").await?;
                Engine::Sqlite(SqliteTransaction::ReadOnly(connection))
            }
        })
    }

    /// Runs a delete that binds a time as `$1`, and the batch as `$2` and `$3`.
    pub(crate) async fn delete_batch(
        &self,
        sql: &'static str,
        before: Time,
        batch: Batch,
    ) -> Result<DeletedBatch> {
        delete_batch!(self, sql, [before, batch.limit, batch.skip])
    }

    /// Waits until everything that a transaction may have read is durable. Fails if its
    /// commit fails.
    async fn wait_for_commit(&self) -> Result<()> {
        match &self.pools {
            Pools::Postgres { .. } => Ok(()),
            Pools::Sqlite { writer, .. } => Ok(writer.wait_for_commit().await?),
        }
    }

    /// Commits the change of a project and notifies its watchers.
    pub(crate) async fn commit_change(&self, tx: Transaction, project_id: ProjectId) -> Result<()> {
        let notifications = self.change_notifications.clone();
        tx.commit_then(move || notifications.notify(project_id))
            .await
    }

    /// Commits the change of a project in a transaction of queued statements, and notifies its
    /// watchers.
    pub(crate) async fn commit_queued_change(
        &self,
        tx: QueuedTransaction,
        project_id: ProjectId,
    ) -> Result<()> {
        let notifications = self.change_notifications.clone();
        tx.commit_then(move || notifications.notify(project_id))
            .await
    }

    /// Commits the changes of several projects and notifies their watchers.
    pub(crate) async fn commit_changes(
        &self,
        tx: Transaction,
        project_ids: Vec<ProjectId>,
    ) -> Result<()> {
        let notifications = self.change_notifications.clone();
        tx.commit_then(move || {
            project_ids
                .into_iter()
                .for_each(|id| notifications.notify(id))
        })
        .await
    }

    /// The notifications of changes in this database.
    pub fn change_notifications(&self) -> &ChangeNotifications {
        &self.change_notifications
    }

    /// Compares the machine's clock with the database's, and sets the clock of the process by
    /// the latter. SQLite has no clock of its own.
    pub async fn synchronize_clock(&self) -> Result<()> {
        match &self.pools {
            Pools::Postgres { reader, .. } => Ok(self.clock_skew.measure(reader).await?),
            Pools::Sqlite { .. } => Ok(()),
        }
    }

    /// When the oldest running transaction began: what it writes can become visible much later,
    /// for example once its synchronous standby is back. `None` on SQLite, which has one writer.
    pub(crate) async fn oldest_transaction(&self) -> Result<Option<Time>> {
        match &self.pools {
            Pools::Postgres { .. } => fetch_scalar!(
                self.reader(),
                "select min(xact_start)
                 from pg_stat_activity
                 where datname = current_database()",
                []
            ),
            Pools::Sqlite { .. } => Ok(None),
        }
    }

    /// A value that all users of this database in this process share, such as what is not written
    /// yet. It is the default of its type at first.
    pub(crate) fn local_state<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.local_state.get()
    }

    /// The difference between the machine's clock and the database's.
    pub fn clock_skew(&self) -> &ClockSkew {
        &self.clock_skew
    }

    /// The name of the engine.
    pub fn engine(&self) -> &'static str {
        match &self.pools {
            Pools::Postgres { .. } => "postgresql",
            Pools::Sqlite { .. } => "sqlite",
        }
    }

    /// The state of the pool: of PostgreSQL, or of the read-only connections of SQLite.
    /// With SQLite, calls that wait for the writing connection count as waiting too.
    pub fn pool_state(&self) -> PoolState {
        match &self.pools {
            Pools::Postgres { reader, .. } => reader.state(),
            Pools::Sqlite { writer, reader } => {
                let mut state = reader.state();
                state.waiting += writer.waiting();
                state
            }
        }
    }

    /// Checks what an answer of the database does not show: that the file of SQLite is still
    /// where the next start looks for it.
    pub fn check_file(&self) -> Result<()> {
        match &self.pools {
            Pools::Postgres { .. } => Ok(()),
            Pools::Sqlite { writer, .. } => Ok(writer.file().check().map_err(sqlx::Error::from)?),
        }
    }

    /// Closes all connections after their running statements.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres { reader, .. } => reader.close().await,
            Pools::Sqlite { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
        }
    }
}
