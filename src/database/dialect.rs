//! The differences between the engines.

use std::{
    fmt,
    future::Future,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
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

/// The instructions of SQLite between two checks whether a statement is interrupted: some
/// microseconds.
const INTERRUPT_CHECK_INTERVAL: i32 = 1000;

/// How connections to an engine behave.
pub trait Dialect: sqlx::Database {
    /// The time after which a connection is replaced.
    const MAX_LIFETIME: Option<Duration>;

    /// What the engine itself holds for a connection, and may hold longer than the client.
    type Session: Clone + fmt::Debug + Send + Sync + 'static;

    /// Checks that a new connection can be used; returns its session.
    fn after_connect(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Self::Session, sqlx::Error>> + Send;

    /// Sets whether a running statement is to stop, if the engine can stop it from outside.
    fn interrupt(session: &Self::Session, is_interrupted: bool);

    /// Whether the engine still works for each of these sessions, whose connections were
    /// dropped. `observer` is a connection for such questions, opened when it is needed.
    fn are_busy(
        observer: &mut Option<Self::Connection>,
        options: &ConnectOptionsOf<Self>,
        sessions: &[&Self::Session],
    ) -> impl Future<Output = Result<Vec<bool>, sqlx::Error>> + Send;

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

/// A server process of PostgreSQL. A process id is used again; with its start it is unique.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    pid: i32,
    start: DateTime<Utc>,
}

/// Whether the server is a standby, and the backend. A backend also learns to end a statement
/// when its client is gone, from PostgreSQL 14 on and on systems that support it.
const SELECT_BACKEND: &str = "select pg_is_in_recovery(), pid, backend_start,
            case
                when version() like '%linux%'
                     and current_setting('client_connection_check_interval', true) is not null
                then set_config('client_connection_check_interval', '1s', false)
            end
     from pg_stat_get_activity(pg_backend_pid())";

/// Whether backends still exist and have not finished their last statement. One that commits may
/// wait for a synchronous standby for any time, without a look at its client.
const SELECT_BUSY: &str = "select a.pid is not null
     from unnest($1::int4[], $2::timestamptz[]) with ordinality as asked (pid, start, place)
     left join pg_stat_activity a
       on a.pid = asked.pid and a.backend_start = asked.start and a.state is distinct from 'idle'
     order by asked.place";

impl Dialect for Postgres {
    const MAX_LIFETIME: Option<Duration> = Some(Duration::from_secs(30 * 60));

    type Session = Backend;

    async fn after_connect(connection: &mut PgConnection) -> Result<Backend, sqlx::Error> {
        let (is_standby, pid, start, _): (bool, i32, DateTime<Utc>, Option<String>) =
            sqlx::query_as(SELECT_BACKEND).fetch_one(connection).await?;
        // After a failover the address may still lead to a read-only server.
        match is_standby {
            true => Err(io::Error::other("the server is a standby").into()),
            false => Ok(Backend { pid, start }),
        }
    }

    /// The server ends statements by itself: at `statement_timeout`, and when it notices that
    /// their client is gone.
    fn interrupt(_: &Backend, _: bool) {}

    async fn are_busy(
        observer: &mut Option<PgConnection>,
        options: &PgConnectOptions,
        sessions: &[&Backend],
    ) -> Result<Vec<bool>, sqlx::Error> {
        let connection = match observer {
            Some(connection) => connection,
            None => observer.insert(options.connect().await?),
        };
        let pids: Vec<_> = sessions.iter().map(|backend| backend.pid).collect();
        let starts: Vec<_> = sessions.iter().map(|backend| backend.start).collect();
        sqlx::query_scalar(SELECT_BUSY)
            .bind(pids)
            .bind(starts)
            .fetch_all(connection)
            .await
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

    type Session = Arc<AtomicBool>;

    async fn after_connect(
        connection: &mut SqliteConnection,
    ) -> Result<Arc<AtomicBool>, sqlx::Error> {
        let is_interrupted = Arc::<AtomicBool>::default();
        let asked = Arc::clone(&is_interrupted);
        connection
            .lock_handle()
            .await?
            .set_progress_handler(INTERRUPT_CHECK_INTERVAL, move || {
                !asked.load(Ordering::Relaxed)
            });
        Ok(is_interrupted)
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

/// The options to open a file of SQLite: for writing, and read-only.
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
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    (writing, file.read_only(true))
}
