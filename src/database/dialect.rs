//! The differences between the engines.

use std::{
    fmt,
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{ConnectOptions, Connection as _, Executor, SqlSafeStr, SqlStr, error::DatabaseError};
use sqlx_postgres::{PgConnectOptions, PgConnection, PgQueryResult, Postgres};
use sqlx_sqlite::{
    Sqlite, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteQueryResult,
    SqliteSynchronous,
};
use tracing::log::LevelFilter;

use super::{
    errors::{is_lost_statement, is_transient, sqlite_code},
    options::{DatabaseOptions, PostgresServers},
    postgres_backends::{self, Backend},
    postgres_connector::{PostgresConnector, ServerLimits},
};

/// The instructions of SQLite between two checks whether a statement is interrupted: some
/// microseconds.
const INTERRUPT_CHECK_INTERVAL: i32 = 1000;

/// The prepared statements of the writing connection. The same statement is prepared anew after
/// other statements that run in one trip with it.
const WRITE_STATEMENTS: usize = 512;

/// A connection and its session, if it has one of its own.
pub(super) type Opened<DB> = (
    <DB as sqlx::Database>::Connection,
    Option<<DB as Dialect>::Session>,
);

/// How connections to an engine behave.
pub trait Dialect: sqlx::Database {
    /// The time after which a connection is replaced.
    const MAX_LIFETIME: Option<Duration>;

    /// Whether several statements with arguments can run in one trip.
    const QUEUES_STATEMENTS: bool;

    /// Opens connections. A clone shares its state.
    type Connector: Clone + Send + Sync + 'static;

    /// What the engine itself holds for a connection, and may hold longer than the client.
    type Session: fmt::Debug + Send + Sync + 'static;

    /// Opens a connection that can be used.
    fn connect(
        connector: &Self::Connector,
    ) -> impl Future<Output = Result<Opened<Self>, sqlx::Error>> + Send;

    /// Checks that a connection can still be used.
    fn ping(
        connector: &Self::Connector,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Sets whether a running statement is to stop, if the engine can stop it from outside.
    fn interrupt(session: &Self::Session, is_interrupted: bool);

    /// Whether the engine still works for each of these sessions, whose connections were
    /// dropped. `observer` is a connection for such questions, opened when it is needed.
    fn are_busy(
        observer: &mut Option<Self::Connection>,
        connector: &Self::Connector,
        sessions: &[&Self::Session],
    ) -> impl Future<Output = Result<Vec<bool>, sqlx::Error>> + Send;

    /// The statements that begin a transaction, from one such as `begin`.
    fn begin(connector: &Self::Connector, begin: &'static str) -> SqlStr;

    /// Whether connections have a session of their own. Otherwise every statement needs a
    /// transaction, and prepared statements must not have a name.
    fn has_sessions(connector: &Self::Connector) -> bool;

    /// Runs statements without arguments.
    fn run(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The number of rows that a statement has changed.
    fn rows_affected(summary: &Self::QueryResult) -> u64;

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

    /// Its extended protocol has one statement in a message.
    const QUEUES_STATEMENTS: bool = false;

    type Connector = PostgresConnector;
    type Session = Backend;

    async fn connect(connector: &PostgresConnector) -> Result<Opened<Self>, sqlx::Error> {
        connector.connect().await
    }

    async fn ping(
        connector: &PostgresConnector,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        connector.ping(connection).await
    }

    /// The server ends statements by itself: at `statement_timeout`, and when it notices that
    /// their client is gone.
    fn interrupt(_: &Backend, _: bool) {}

    /// Of several servers, the one that new connections go to is asked. It does not know the
    /// backends of another one: what goes on there counts no longer.
    async fn are_busy(
        observer: &mut Option<PgConnection>,
        connector: &PostgresConnector,
        backends: &[&Backend],
    ) -> Result<Vec<bool>, sqlx::Error> {
        let connection = match observer {
            Some(connection) => connection,
            None => observer.insert(connector.connect().await?.0),
        };
        postgres_backends::are_busy(connection, backends).await
    }

    fn begin(connector: &PostgresConnector, begin: &'static str) -> SqlStr {
        connector.begin(begin)
    }

    fn has_sessions(connector: &PostgresConnector) -> bool {
        !connector.is_transaction_pooled()
    }

    async fn run(connection: &mut PgConnection, sql: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(sql).await.map(drop)
    }

    fn rows_affected(summary: &PgQueryResult) -> u64 {
        summary.rows_affected()
    }

    /// The server shuts down, starts, or has become a standby. Or the session has not the
    /// prepared statements that it should have.
    fn is_fatal(cause: &dyn DatabaseError) -> bool {
        is_transient(cause) || is_lost_statement(cause)
    }
}

impl Dialect for Sqlite {
    const MAX_LIFETIME: Option<Duration> = None;

    const QUEUES_STATEMENTS: bool = true;

    type Connector = SqliteConnectOptions;
    type Session = Arc<AtomicBool>;

    async fn connect(options: &SqliteConnectOptions) -> Result<Opened<Self>, sqlx::Error> {
        let mut connection = options.connect().await?;
        let is_interrupted = Arc::<AtomicBool>::default();
        let asked = Arc::clone(&is_interrupted);
        connection
            .lock_handle()
            .await?
            .set_progress_handler(INTERRUPT_CHECK_INTERVAL, move || {
                !asked.load(Ordering::Relaxed)
            });
        Ok((connection, Some(is_interrupted)))
    }

    async fn ping(
        _: &SqliteConnectOptions,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    /// A statement runs in a thread of its own, whether or not anyone waits for it.
    fn interrupt(session: &Arc<AtomicBool>, is_interrupted: bool) {
        session.store(is_interrupted, Ordering::Relaxed);
    }

    async fn are_busy(
        _: &mut Option<SqliteConnection>,
        _: &SqliteConnectOptions,
        sessions: &[&Arc<AtomicBool>],
    ) -> Result<Vec<bool>, sqlx::Error> {
        // The thread of a connection has the other reference.
        Ok(sessions
            .iter()
            .map(|one| Arc::strong_count(one) > 1)
            .collect())
    }

    fn begin(_: &SqliteConnectOptions, begin: &'static str) -> SqlStr {
        begin.into_sql_str()
    }

    fn has_sessions(_: &SqliteConnectOptions) -> bool {
        true
    }

    async fn run(connection: &mut SqliteConnection, sql: SqlStr) -> Result<(), sqlx::Error> {
        // As a query, even without arguments, the statement is prepared only once.
        sqlx::query(sql).execute(connection).await.map(drop)
    }

    fn rows_affected(summary: &SqliteQueryResult) -> u64 {
        summary.rows_affected()
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

/// Connects to PostgreSQL, with the timeouts that the server enforces.
pub(super) fn postgres_connector(
    servers: &PostgresServers,
    options: &DatabaseOptions,
) -> PostgresConnector {
    let share_of_timeout = |share: f64| {
        let timeout = options.statement_timeout.mul_f64(share);
        format!("{}ms", timeout.as_millis().max(1))
    };
    let limits = ServerLimits {
        of_statements: vec![
            // Shorter than the client's timeout, so that the server gives up first.
            ("statement_timeout", share_of_timeout(0.8)),
            ("lock_timeout", share_of_timeout(0.3)),
            // No transaction waits for its client: an idle one has lost it, and holds row locks.
            ("idle_in_transaction_session_timeout", share_of_timeout(0.5)),
        ],
        // The server drops the sessions of a replica that has vanished. sqlx has no
        // keepalive on the client side: the timeouts here find an unresponsive server.
        of_connection: vec![
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
            ("tcp_user_timeout", "15s".to_owned()),
        ],
    };
    let customize = |server: PgConnectOptions| {
        server
            .application_name("sluice")
            .log_statements(LevelFilter::Debug)
            .log_slow_statements(LevelFilter::Warn, options.slow_query)
    };
    PostgresConnector::new(servers, limits, options.acquire_timeout, customize)
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
    // Only `SqliteFile` creates the file: one that disappears is not replaced by an empty one.
    let writing = file
        .clone()
        .statement_cache_capacity(WRITE_STATEMENTS)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    (writing, file.read_only(true))
}
