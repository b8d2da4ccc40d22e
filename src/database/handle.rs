use sqlx::{Postgres, Sqlite};

use super::{
    ChangeNotifications,
    autocommit::{Acquire, Autocommit},
    dialect,
    engine::Engine,
    options::{DatabaseOptions, Target},
    pool::{Pool, PoolLimits, PoolState},
    sqlite_writer::SqliteWriter,
    transaction::{PoolTransaction, SqliteTransaction, Transaction},
};
use crate::{
    domain::{ProjectId, Time},
    error::Result,
};

/// Runs a statement that reads.
pub type ReadExecutor<'a> = Engine<Autocommit<'a, Pool<Postgres>>, Autocommit<'a, Pool<Sqlite>>>;

/// Runs a statement that writes.
pub type WriteExecutor<'a> = Engine<Autocommit<'a, Pool<Postgres>>, Autocommit<'a, SqliteWriter>>;

/// The database on either engine. A clone shares the connections.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) pools: Pools,
    change_notifications: ChangeNotifications,
}

/// The connections.
#[derive(Debug, Clone)]
pub enum Pools {
    /// PostgreSQL.
    Postgres(Pool<Postgres>),
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
            Target::Postgres(server) => Pools::Postgres(Pool::new(
                dialect::postgres_options(server, options),
                limits,
            )),
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
        }
    }

    /// Runs statements that read, each on its own.
    pub(crate) fn reader(&self) -> ReadExecutor<'_> {
        match &self.pools {
            Pools::Postgres(pool) => Engine::Postgres(Autocommit(pool)),
            Pools::Sqlite { reader, .. } => Engine::Sqlite(Autocommit(reader)),
        }
    }

    /// Runs statements that write, each on its own.
    pub(crate) fn writer(&self) -> WriteExecutor<'_> {
        match &self.pools {
            Pools::Postgres(pool) => Engine::Postgres(Autocommit(pool)),
            Pools::Sqlite { writer, .. } => Engine::Sqlite(Autocommit(writer)),
        }
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Transaction> {
        Ok(match &self.pools {
            Pools::Postgres(pool) => Engine::Postgres(PoolTransaction::begin(pool, "begin").await?),
            Pools::Sqlite { writer, .. } => {
                Engine::Sqlite(SqliteTransaction::Write(writer.acquire().await?))
            }
        })
    }

    /// Begins a read-only transaction on a snapshot of the database.
    pub(crate) async fn begin_read_only(&self) -> Result<Transaction> {
        const BEGIN: &str = "begin isolation level repeatable read read only";
        Ok(match &self.pools {
            Pools::Postgres(pool) => Engine::Postgres(PoolTransaction::begin(pool, BEGIN).await?),
            Pools::Sqlite { reader, .. } => {
                let transaction = PoolTransaction::begin(reader, "begin").await?;
                Engine::Sqlite(SqliteTransaction::ReadOnly(transaction))
            }
        })
    }

    /// Runs a delete that binds a time as `$1` and a maximum number of rows as `$2`;
    /// returns the number of deleted rows.
    pub(crate) async fn delete_batch(
        &self,
        sql: &'static str,
        before: Time,
        limit: i64,
    ) -> Result<u64> {
        execute!(self.writer(), sql, [before, limit])
    }

    /// Waits until everything that a transaction may have read is durable. Fails if its
    /// commit fails.
    pub(super) async fn wait_for_commit(&self) -> Result<()> {
        match &self.pools {
            Pools::Postgres(_) => Ok(()),
            Pools::Sqlite { writer, .. } => Ok(writer.wait_for_commit().await?),
        }
    }

    /// Commits the change of a project and notifies its watchers.
    pub(crate) async fn commit_change(&self, tx: Transaction, project_id: ProjectId) -> Result<()> {
        let notifications = self.change_notifications.clone();
        tx.commit_then(move || notifications.notify(project_id))
            .await
    }

    /// The notifications of changes in this database.
    pub fn change_notifications(&self) -> &ChangeNotifications {
        &self.change_notifications
    }

    /// The name of the engine.
    pub fn engine(&self) -> &'static str {
        match &self.pools {
            Pools::Postgres(_) => "postgresql",
            Pools::Sqlite { .. } => "sqlite",
        }
    }

    /// The state of the pool: of PostgreSQL, or of the read-only connections of SQLite.
    /// With SQLite, calls that wait for the writing connection count as waiting too.
    pub fn pool_state(&self) -> PoolState {
        match &self.pools {
            Pools::Postgres(pool) => pool.state(),
            Pools::Sqlite { writer, reader } => {
                let mut state = reader.state();
                state.waiting += writer.waiting();
                state
            }
        }
    }

    /// Closes all connections after their running statements.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres(pool) => pool.close().await,
            Pools::Sqlite { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
        }
    }
}
