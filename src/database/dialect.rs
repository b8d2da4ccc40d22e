//! What the engines do differently.

use std::{future::Future, io, path::Path, time::Duration};

use sqlx::{
    ConnectOptions, Connection, Error as Failure, Executor, PgConnection, Postgres, Sqlite,
    SqliteConnection,
    error::DatabaseError,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tracing::log::LevelFilter;

use super::{
    errors::{is_passing, sqlite_code},
    options::DatabaseOptions,
};

/// How to connect.
pub(super) type Address<DB> = <<DB as sqlx::Database>::Connection as Connection>::Options;

/// How long a connection is kept.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// An engine, as far as connections to it go.
pub trait Server: sqlx::Database {
    /// After which time a connection is replaced.
    const LIFETIME: Option<Duration>;

    /// Makes sure that a new connection is of use.
    fn welcome(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Runs a statement without arguments.
    fn run(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether a connection cannot be used after such an error of the database.
    fn is_fatal(cause: &dyn DatabaseError) -> bool;

    /// Whether a connection cannot be used after such a failure.
    fn is_broken_by(failure: &Failure) -> bool {
        match failure {
            Failure::Database(cause) => Self::is_fatal(cause.as_ref()),
            Failure::RowNotFound
            | Failure::TypeNotFound { .. }
            | Failure::ColumnIndexOutOfBounds { .. }
            | Failure::ColumnNotFound(_)
            | Failure::ColumnDecode { .. }
            | Failure::Encode(_)
            | Failure::Decode(_) => false,
            _ => true,
        }
    }
}

impl Server for Postgres {
    const LIFETIME: Option<Duration> = Some(LIFETIME);

    async fn welcome(connection: &mut PgConnection) -> Result<(), Failure> {
        // After a failover the old address may lead to a server that only reads.
        let standby: bool = sqlx::query_scalar("select pg_is_in_recovery()")
            .fetch_one(connection)
            .await?;
        match standby {
            true => Err(io::Error::other("the server is a standby").into()),
            false => Ok(()),
        }
    }

    async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), Failure> {
        connection.execute(sql).await.map(drop)
    }

    /// A server that goes away, comes up, or has become a standby.
    fn is_fatal(cause: &dyn DatabaseError) -> bool {
        is_passing(cause)
    }
}

impl Server for Sqlite {
    const LIFETIME: Option<Duration> = None;

    async fn welcome(_: &mut SqliteConnection) -> Result<(), Failure> {
        Ok(())
    }

    async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Failure> {
        // With arguments, if none, the statement is prepared once.
        sqlx::query(sql).execute(connection).await.map(drop)
    }

    /// Errors at which SQLite may have rolled back the whole transaction by itself, so that
    /// what follows would be committed alone: out of memory, interrupted, input and output,
    /// corrupt, full, and what else says that the file is out of reach; and busy and
    /// read-only, which a new connection may be spared.
    fn is_fatal(cause: &dyn DatabaseError) -> bool {
        sqlite_code(cause)
            .is_some_and(|code| [4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 26].contains(&code))
    }
}

/// A server of PostgreSQL, with the limits that it keeps by itself.
pub(super) fn postgres(server: &PgConnectOptions, options: &DatabaseOptions) -> PgConnectOptions {
    let limit = |share: f64| {
        let limit = options.statement_timeout.mul_f64(share);
        format!("{}ms", limit.as_millis().max(1))
    };
    server
        .clone()
        .application_name("sluice")
        // Shorter than what we wait, so that the server is the first to give up.
        .options([("statement_timeout", limit(0.8))])
        .options([("lock_timeout", limit(0.3))])
        // Nobody waits within a transaction: whose does not go on has lost its client, and
        // keeps others from its rows.
        .options([("idle_in_transaction_session_timeout", limit(0.5))])
        // So that the server drops the sessions of a replica that has vanished. On our side
        // sqlx has no such switch: what is silent is found by the limits here.
        .options([
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
        ])
        .options([("tcp_keepalives_count", "3"), ("tcp_user_timeout", "15s")])
        .log_statements(LevelFilter::Debug)
        .log_slow_statements(LevelFilter::Warn, options.slow_query)
}

/// A file of SQLite: to write, and only to read.
pub(super) fn sqlite(
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
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    (writing, file.read_only(true))
}
