use sqlx::{Postgres, Sqlite};

use super::{
    Hints,
    autocommit::Single,
    dialect,
    engine::Engine,
    options::{DatabaseOptions, Target},
    pool::{Pool, PoolLimits, PoolState},
    transaction::{OnSqlite, Open, Transaction},
    writer::Writer as SqliteWriter,
};
use crate::{domain::ProjectId, error::Result};

/// Where to read from.
pub type Reader<'a> = Engine<Single<'a, Pool<Postgres>>, Single<'a, Pool<Sqlite>>>;

/// Where to run one statement that writes.
pub type Writer<'a> = Engine<Single<'a, Pool<Postgres>>, Single<'a, SqliteWriter>>;

/// The database, whichever engine it is. A clone shares the connections.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) pools: Pools,
    hints: Hints,
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
        /// The connections that only read.
        reader: Pool<Sqlite>,
    },
}

impl Database {
    /// Prepares the pools; connections are made when they are needed.
    pub fn open(options: &DatabaseOptions) -> Self {
        let limits = PoolLimits {
            size: options.pool_size,
            acquire: options.acquire_timeout,
            statement: options.statement_timeout,
        };
        let pools = match &options.target {
            Target::Postgres(address) => {
                Pools::Postgres(Pool::new(dialect::postgres(address, options), limits))
            }
            Target::Sqlite(file) => {
                let (writing, reading) = dialect::sqlite(file, options);
                Pools::Sqlite {
                    writer: SqliteWriter::new(writing, limits),
                    reader: Pool::new(reading, limits),
                }
            }
        };
        Self {
            pools,
            hints: Hints::default(),
        }
    }

    /// Where to read from.
    pub(crate) fn reader(&self) -> Reader<'_> {
        match &self.pools {
            Pools::Postgres(pool) => Engine::Postgres(Single(pool)),
            Pools::Sqlite { reader, .. } => Engine::Sqlite(Single(reader)),
        }
    }

    /// Where to run one statement that writes.
    pub(crate) fn writer(&self) -> Writer<'_> {
        match &self.pools {
            Pools::Postgres(pool) => Engine::Postgres(Single(pool)),
            Pools::Sqlite { writer, .. } => Engine::Sqlite(Single(writer)),
        }
    }

    /// Begins a transaction that will write.
    pub(crate) async fn begin(&self) -> Result<Transaction> {
        Ok(match &self.pools {
            Pools::Postgres(pool) => Engine::Postgres(Open::begin(pool, "begin").await?),
            Pools::Sqlite { writer, .. } => Engine::Sqlite(OnSqlite::Writing(writer.take().await?)),
        })
    }

    /// Begins a transaction that only reads, and sees one moment.
    pub(crate) async fn begin_reading(&self) -> Result<Transaction> {
        const ONE_MOMENT: &str = "begin isolation level repeatable read read only";
        Ok(match &self.pools {
            Pools::Postgres(pool) => Engine::Postgres(Open::begin(pool, ONE_MOMENT).await?),
            Pools::Sqlite { reader, .. } => {
                Engine::Sqlite(OnSqlite::Reading(Open::begin(reader, "begin").await?))
            }
        })
    }

    /// Returns when what a transaction can have read is on the disk, or fails with it.
    pub(super) async fn settle(&self) -> Result<()> {
        match &self.pools {
            Pools::Postgres(_) => Ok(()),
            Pools::Sqlite { writer, .. } => Ok(writer.settle().await?),
        }
    }

    /// Commits the change of a project, and tells those who watch it.
    pub(crate) async fn commit_change(&self, tx: Transaction, project_id: ProjectId) -> Result<()> {
        let hints = self.hints.clone();
        tx.commit_then(move || hints.changed(project_id)).await
    }

    /// What changes in this database, as far as this process knows.
    pub fn hints(&self) -> &Hints {
        &self.hints
    }

    /// The name of the engine.
    pub fn engine(&self) -> &'static str {
        match &self.pools {
            Pools::Postgres(_) => "postgresql",
            Pools::Sqlite { .. } => "sqlite",
        }
    }

    /// The connections as they are used now: to PostgreSQL, or those of SQLite that read.
    /// With SQLite, who waits for the one that writes counts as waiting too.
    pub fn connections(&self) -> PoolState {
        match &self.pools {
            Pools::Postgres(pool) => pool.state(),
            Pools::Sqlite { writer, reader } => {
                let mut state = reader.state();
                state.waiting += writer.waiting();
                state
            }
        }
    }

    /// Closes all connections, after the statements that run on them.
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
