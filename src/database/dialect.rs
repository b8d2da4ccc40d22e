//! The differences between the engines.

use std::{future::Future, io, path::Path, time::Duration};

use sqlx::{ConnectOptions, Executor, error::DatabaseError};
use sqlx_postgres::{PgConnectOptions, PgConnection, Postgres};
use sqlx_sqlite::{
    Sqlite, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use tracing::log::LevelFilter;

use super::{
    errors::{is_transient, sqlite_code},
    options::DatabaseOptions,
};

/// The options to connect to an engine.
pub(super) type ConnectOptionsOf<DB> =
    <<DB as sqlx::Database>::Connection as sqlx::Connection>::Options;

/// How connections to an engine behave.
pub trait Dialect: sqlx::Database {
    /// The time after which a connection is replaced.
    const MAX_LIFETIME: Option<Duration>;

    /// Checks that a new connection can be used.
    fn after_connect(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Runs a statement without arguments.
    fn run(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Whether a connection cannot be used after this error of the database.
    fn is_fatal(cause: &dyn DatabaseError) -> bool;

    /// Whether a connection cannot be used after this error.
    fn is_broken_by(error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::Database(cause) => Self::is_fatal(cause.as_ref()),
            sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_) => false,
            _ => true,
        }
    }
}

impl Dialect for Postgres {
    const MAX_LIFETIME: Option<Duration> = Some(Duration::from_secs(30 * 60));

    async fn after_connect(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        // After a failover the address may still lead to a read-only server.
        let standby: bool = sqlx::query_scalar("select pg_is_in_recovery()")
            .fetch_one(connection)
            .await?;
        match standby {
            true => Err(io::Error::other("the server is a standby").into()),
            false => Ok(()),
        }
    }

    async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
        connection.execute(sql).await.map(drop)
    }

    /// The server shuts down, starts, or has become a standby.
    fn is_fatal(cause: &dyn DatabaseError) -> bool {
        is_transient(cause)
    }
}

impl Dialect for Sqlite {
    const MAX_LIFETIME: Option<Duration> = None;

    async fn after_connect(_: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
        // As a query, even without arguments, the statement is prepared only once.
        sqlx::query(sql).execute(connection).await.map(drop)
    }

    /// Errors after which SQLite may have rolled back the whole transaction by itself, so that
    /// later statements would be committed alone: `NOMEM`, `INTERRUPT`, `IOERR`, `CORRUPT`,
    /// `FULL`, and others that say that the file cannot be used. Also `BUSY` and `READONLY`,
    /// which a new connection may not meet.
    fn is_fatal(cause: &dyn DatabaseError) -> bool {
        sqlite_code(cause)
            .is_some_and(|code| [4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 26].contains(&code))
    }
}

/// The options to connect to PostgreSQL, with the timeouts that the server enforces.
pub(super) fn postgres_options(
    server: &PgConnectOptions,
    options: &DatabaseOptions,
) -> PgConnectOptions {
    let share_of_timeout = |share: f64| {
        let timeout = options.statement_timeout.mul_f64(share);
        format!("{}ms", timeout.as_millis().max(1))
    };
    server
        .clone()
        .application_name("sluice")
        // Shorter than the client's timeout, so that the server gives up first.
        .options([("statement_timeout", share_of_timeout(0.8))])
        .options([("lock_timeout", share_of_timeout(0.3))])
        // No transaction waits for its client: an idle one has lost it, and holds row locks.
        .options([("idle_in_transaction_session_timeout", share_of_timeout(0.5))])
        // The server drops the sessions of a replica that has vanished. sqlx has no
        // keepalive on the client side: the timeouts here find an unresponsive server.
        .options([
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
        ])
        .options([("tcp_keepalives_count", "3"), ("tcp_user_timeout", "15s")])
        .log_statements(LevelFilter::Debug)
        .log_slow_statements(LevelFilter::Warn, options.slow_query)
}

/// The options to open a file of SQLite: for writing, and read-only. Only a migration creates it.
pub(super) fn sqlite_options(
    file: &Path,
    options: &DatabaseOptions,
) -> (SqliteConnectOptions, SqliteConnectOptions) {
    let file = SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5).min(options.statement_timeout.mul_f64(0.8)))
        .log_statements(LevelFilter::Debug)
        .log_slow_statements(LevelFilter::Warn, options.slow_query);
    let writing = file
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    (writing, file.read_only(true))
}
