//! Two engines behind one SQL text.
//!
//! PostgreSQL has one pool. SQLite has one connection that writes, with
//! `begin immediate` (a deferred transaction fails at once when it turns from
//! reading to writing, whatever the busy timeout is), and a small pool beside
//! it that only reads.

use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, PgPool, Postgres, Sqlite, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::Hints;
use crate::{domain::ProjectId, error::Result, telemetry::metrics::PoolLoad};

/// Something that exists once per engine.
pub enum Engine<P, S> {
    /// PostgreSQL's.
    Postgres(P),
    /// SQLite's.
    Sqlite(S),
}

/// A pool to run one statement on.
pub type Pool<'a> = Engine<&'a PgPool, &'a SqlitePool>;

/// An open transaction. Dropping it rolls it back.
pub type Transaction =
    Engine<sqlx::Transaction<'static, Postgres>, sqlx::Transaction<'static, Sqlite>>;

/// Runs one expression on whichever engine it is: `on_engine!(pool, pool => expression)`.
///
/// The expression is compiled once per engine, because sqlx knows the engine
/// only by type. It is the one macro of this crate.
macro_rules! on_engine {
    ($engine:expr, $name:ident => $body:expr) => {
        match $engine {
            $crate::repositories::engine::Engine::Postgres($name) => $body,
            $crate::repositories::engine::Engine::Sqlite($name) => $body,
        }
    };
}

/// Where the data is. It cannot be printed: there is a password in it.
#[derive(Clone)]
pub enum Target {
    /// A PostgreSQL server.
    Postgres(Box<PgConnectOptions>),
    /// A file of SQLite.
    Sqlite(PathBuf),
}

/// How the database is used.
#[derive(Clone)]
pub struct DatabaseOptions {
    /// Where the data is.
    pub target: Target,
    /// Connections: to PostgreSQL, or of SQLite's reading pool.
    pub pool_size: u32,
    /// How long a call waits for a connection.
    pub acquire_timeout: Duration,
    /// From which duration a statement is logged as slow.
    pub slow_query: Duration,
}

/// The database, whichever engine it is. A clone shares the connections.
#[derive(Debug, Clone)]
pub struct Database {
    pub(super) pools: Pools,
    hints: Hints,
}

/// The connections.
#[derive(Debug, Clone)]
pub(super) enum Pools {
    /// PostgreSQL.
    Postgres(PgPool),
    /// SQLite.
    Sqlite {
        /// The one connection that writes.
        writer: SqlitePool,
        /// The connections that only read.
        reader: SqlitePool,
    },
}

impl Database {
    /// Prepares the pools; connections are made when they are needed.
    pub fn open(options: &DatabaseOptions) -> Self {
        let pools = match &options.target {
            Target::Postgres(server) => Pools::postgres(server, options),
            Target::Sqlite(file) => Pools::sqlite(file, options),
        };
        Self {
            pools,
            hints: Hints::default(),
        }
    }

    /// Where to read from.
    pub(super) fn reader(&self) -> Pool<'_> {
        match &self.pools {
            Pools::Postgres(pool) => Pool::Postgres(pool),
            Pools::Sqlite { reader, .. } => Pool::Sqlite(reader),
        }
    }

    /// Where to run one statement that writes.
    pub(super) fn writer(&self) -> Pool<'_> {
        match &self.pools {
            Pools::Postgres(pool) => Pool::Postgres(pool),
            Pools::Sqlite { writer, .. } => Pool::Sqlite(writer),
        }
    }

    /// Begins a transaction that will write.
    pub(super) async fn begin(&self) -> Result<Transaction> {
        Ok(match &self.pools {
            Pools::Postgres(pool) => Transaction::Postgres(pool.begin().await?),
            Pools::Sqlite { writer, .. } => {
                Transaction::Sqlite(writer.begin_with("begin immediate").await?)
            }
        })
    }

    /// Begins a transaction that only reads, and sees one moment.
    pub(super) async fn begin_reading(&self) -> Result<Transaction> {
        const ONE_MOMENT: &str = "begin isolation level repeatable read read only";
        Ok(match &self.pools {
            Pools::Postgres(pool) => Transaction::Postgres(pool.begin_with(ONE_MOMENT).await?),
            Pools::Sqlite { reader, .. } => Transaction::Sqlite(reader.begin().await?),
        })
    }

    /// Commits the change of a project, and tells those who watch it.
    pub(super) async fn commit_change(&self, tx: Transaction, project_id: ProjectId) -> Result<()> {
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

    /// The connections of each pool, as they are now.
    pub fn load(&self) -> Vec<PoolLoad> {
        match &self.pools {
            Pools::Postgres(pool) => vec![load("all", pool)],
            Pools::Sqlite { writer, reader } => {
                vec![load("writer", writer), load("reader", reader)]
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

fn load<DB: sqlx::Database>(name: &'static str, pool: &sqlx::Pool<DB>) -> PoolLoad {
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    PoolLoad {
        pool: name,
        limit: pool.options().get_max_connections(),
        used: pool.size().saturating_sub(idle),
        idle,
    }
}

impl Pools {
    fn postgres(server: &PgConnectOptions, options: &DatabaseOptions) -> Self {
        let server = server
            .clone()
            .application_name("sluice")
            .options([("statement_timeout", "5s"), ("lock_timeout", "2s")])
            .options([("idle_in_transaction_session_timeout", "10s")])
            .log_statements(tracing::log::LevelFilter::Debug)
            .log_slow_statements(tracing::log::LevelFilter::Warn, options.slow_query);

        Self::Postgres(
            PgPoolOptions::new()
                .max_connections(options.pool_size)
                .acquire_timeout(options.acquire_timeout)
                .connect_lazy_with(server),
        )
    }

    fn sqlite(file: &PathBuf, options: &DatabaseOptions) -> Self {
        let file = SqliteConnectOptions::new()
            .filename(file)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .log_statements(tracing::log::LevelFilter::Debug)
            .log_slow_statements(tracing::log::LevelFilter::Warn, options.slow_query);
        let writing = file
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false);

        Self::Sqlite {
            writer: pool.clone().max_connections(1).connect_lazy_with(writing),
            reader: pool
                .max_connections(options.pool_size)
                .connect_lazy_with(file.read_only(true)),
        }
    }
}

impl Transaction {
    /// Rolls back, and does not wait for somebody to use the connection again.
    pub(super) async fn rollback(self) -> Result<()> {
        Ok(on_engine!(self, transaction => transaction.rollback().await)?)
    }

    /// Commits, even if whoever waits for it goes away.
    pub(super) async fn commit(self) -> Result<()> {
        self.commit_then(|| ()).await
    }

    /// The same, and does something more once it is committed.
    async fn commit_then(self, then: impl FnOnce() + Send + 'static) -> Result<()> {
        let commit = tokio::spawn(async move {
            on_engine!(self, transaction => transaction.commit().await)?;
            then();
            Ok::<_, sqlx::Error>(())
        });
        match commit.await {
            Ok(committed) => Ok(committed?),
            Err(stopped) => Err(crate::error::Error::internal(stopped)),
        }
    }
}

impl FromStr for Target {
    type Err = &'static str;

    /// Reads `postgres://…`, `postgresql://…` or `sqlite:PATH`.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" | ":memory:" => Err("must name a file after sqlite:"),
                _ if path.contains('?') => Err("must not have parameters after the file"),
                _ => Ok(Self::Sqlite(path.into())),
            };
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return PgConnectOptions::from_str(url)
                .map(|server| Self::Postgres(Box::new(server)))
                .map_err(|_| "must be a URL such as postgres://user:password@host:5432/name");
        }
        Err("must begin with postgres:// or sqlite:")
    }
}
