//! Connects to PostgreSQL: to the first of several servers that can be used, directly or
//! through a pooler.
//!
//! Nothing depends on startup parameters, which poolers refuse or ignore: the limits that the
//! server enforces are set in a session, or, through a pooler in transaction mode, in each
//! transaction.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, SqlSafeStr, SqlStr};
use sqlx_postgres::{PgConnectOptions, PgConnection, PgRow, Postgres};
use tokio::time::timeout;

use super::{
    connect_error::{ConnectError, ReadOnlyServer, database_of},
    options::{Pooler, PostgresServers, SettingNames, TargetSession},
    postgres_backends::{Backend, OWN_BACKEND},
};

/// The rounds in which two connections compare their backends.
const POOLER_PROBES: usize = 3;

/// The timeout of such a comparison. A pooler in session mode may have no session free.
const POOLER_PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects to the servers of a database. A clone shares the server that was used last.
#[derive(Clone)]
pub struct PostgresConnector(Arc<ConnectorInner>);

struct ConnectorInner {
    servers: Vec<PgConnectOptions>,
    target_session: TargetSession,
    pooler: Pooler,
    settings: SettingNames,
    limits: ServerLimits,
    /// The timeout of an attempt to connect to one server.
    connect_timeout: Duration,
    /// The index of the server that could be used last. It is tried first.
    preferred: AtomicUsize,
}

/// The limits that the server enforces.
pub(super) struct ServerLimits {
    /// Settings of a session or a transaction, with their values.
    pub of_statements: Vec<(&'static str, String)>,
    /// Settings of the network connection to the server.
    pub of_connection: Vec<(&'static str, String)>,
}

impl PostgresConnector {
    /// A connector. Each attempt to connect to all servers takes at most `connect_timeout`.
    /// `customize` completes the options of each server.
    pub(super) fn new(
        servers: &PostgresServers,
        limits: ServerLimits,
        connect_timeout: Duration,
        customize: impl Fn(PgConnectOptions) -> PgConnectOptions,
    ) -> Self {
        let PostgresServers {
            servers,
            target_session,
            pooler,
            settings,
        } = servers.clone();
        let count = u32::try_from(servers.len().max(1)).unwrap_or(u32::MAX);
        // PgBouncer refuses the parameter. Binary values and PostgreSQL 12 do not need it.
        let customize = |server: PgConnectOptions| customize(server.extra_float_digits(None));
        Self(Arc::new(ConnectorInner {
            servers: servers.into_iter().map(customize).collect(),
            target_session,
            pooler,
            settings,
            limits,
            connect_timeout: connect_timeout / count,
            preferred: AtomicUsize::new(0),
        }))
    }

    /// Whether a pooler gives each transaction any session.
    pub(super) fn is_transaction_pooled(&self) -> bool {
        self.0.pooler == Pooler::Transaction
    }

    /// The names of the settings of the servers.
    pub(super) fn settings(&self) -> &SettingNames {
        &self.0.settings
    }

    /// The name of the database.
    pub(super) fn database(&self) -> &str {
        self.0.servers.first().map_or("", database_of)
    }

    /// Connects to the first server that can be used, with the limits of a session. Returns also
    /// its backend, unless a pooler gives each transaction any backend.
    pub(super) async fn connect(&self) -> Result<(PgConnection, Option<Backend>), sqlx::Error> {
        if self.is_transaction_pooled() {
            return Ok((self.connect_without_limits().await?, None));
        }
        let setup = format!("{}, {OWN_BACKEND}", self.setup());
        let (connection, row) = self
            .first_usable(|server| connect_to(server, setup.clone()))
            .await?;
        Ok((connection, Some(Backend::from_row(&row)?)))
    }

    /// Connects without limits, for statements that may take long.
    pub(super) async fn connect_without_limits(&self) -> Result<PgConnection, sqlx::Error> {
        let (connection, _) = self
            .first_usable(|server| connect_to(server, self.role_check().to_owned()))
            .await?;
        Ok(connection)
    }

    /// Checks that a connection answers, and that its server can still be used.
    pub(super) async fn ping(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        check_role(self.role_check().to_owned(), connection).await
    }

    /// Makes an attempt with each server, the one that was used last first, until one
    /// succeeds.
    pub(super) async fn first_usable<'a, T, F>(
        &'a self,
        attempt: impl Fn(&'a PgConnectOptions) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let ConnectorInner {
            servers,
            preferred,
            settings,
            connect_timeout,
            ..
        } = &*self.0;
        let first = preferred.load(Ordering::Relaxed);
        let others = (0..servers.len()).filter(|index| *index != first);
        let mut failures = Vec::new();
        for index in [first].into_iter().chain(others) {
            let server = &servers[index];
            let failure = match timeout(*connect_timeout, attempt(server)).await {
                Ok(Ok(done)) => {
                    preferred.store(index, Ordering::Relaxed);
                    return Ok(done);
                }
                Ok(Err(failure)) => failure,
                Err(_) => {
                    let text = format!("no answer within {connect_timeout:?}");
                    io::Error::new(io::ErrorKind::TimedOut, text).into()
                }
            };
            failures.push(ConnectError::new(server, settings, &failure));
        }
        Err(ConnectError::all(failures).into())
    }

    /// The statements at the start of a session. The last one returns whether the server
    /// cannot be used; more columns can follow.
    pub(super) fn setup(&self) -> String {
        if self.is_transaction_pooled() {
            // Another client may get the session next.
            return self.role_check().to_owned();
        }
        let ServerLimits {
            of_statements,
            of_connection,
        } = &self.0.limits;
        let mut setup = settings("set", of_statements);
        setup += &settings("set", of_connection);
        setup + self.role_check()
    }

    /// Returns whether the server cannot be used.
    fn role_check(&self) -> &'static str {
        match self.0.target_session {
            TargetSession::Any => "select false",
            TargetSession::Primary => "select pg_is_in_recovery()",
            TargetSession::ReadWrite => {
                "select pg_is_in_recovery() or current_setting('transaction_read_only') = 'on'"
            }
        }
    }

    /// The statements that begin a transaction.
    pub(super) fn begin(&self, begin: &'static str) -> SqlStr {
        match self.is_transaction_pooled() {
            false => begin.into_sql_str(),
            true => {
                let limits = settings("set local", &self.0.limits.of_statements);
                AssertSqlSafe(format!("{begin}; {limits}")).into_sql_str()
            }
        }
    }

    /// Whether two connections share a backend: there is a pooler in transaction mode for
    /// certain. A busy one may not be noticed.
    pub(super) async fn shares_backend(&self, connection: &mut PgConnection) -> bool {
        let comparing = async {
            let mut other = self.connect_without_limits().await?;
            for _ in 0..POOLER_PROBES {
                if backend(connection).await? == backend(&mut other).await? {
                    return Ok::<_, sqlx::Error>(true);
                }
            }
            other.close().await?;
            Ok(false)
        };
        // Without an answer nothing is known.
        matches!(timeout(POOLER_PROBE_TIMEOUT, comparing).await, Ok(Ok(true)))
    }
}

/// The statements that set settings.
fn settings(set: &str, settings: &[(&'static str, String)]) -> String {
    let statements = settings
        .iter()
        .map(|(name, value)| format!("{set} {name} = '{value}'; "));
    statements.collect()
}

/// Connects to a server, and runs the statements at the start of a session.
async fn connect_to(
    server: &PgConnectOptions,
    setup: String,
) -> Result<(PgConnection, PgRow), sqlx::Error> {
    let mut connection = server.connect().await?;
    let row = set_up(setup, &mut connection).await?;
    Ok((connection, row))
}

/// Runs the statements at the start of a session.
pub(super) async fn check_role<'e>(
    setup: String,
    executor: impl Executor<'e, Database = Postgres>,
) -> Result<(), sqlx::Error> {
    set_up(setup, executor).await.map(drop)
}

/// Runs the statements at the start of a session; returns the row of the last one.
async fn set_up<'e>(
    setup: String,
    executor: impl Executor<'e, Database = Postgres>,
) -> Result<PgRow, sqlx::Error> {
    // A prepared statement would stay in the session of a pooler.
    let row = sqlx::raw_sql(AssertSqlSafe(setup)).fetch_one(executor);
    let row = row.await?;
    match row.try_get(0)? {
        true => Err(ReadOnlyServer.into()),
        false => Ok(row),
    }
}

/// The process id of the backend that runs the next statement.
async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection);
    row.await?.try_get(0)
}

impl fmt::Debug for PostgresConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresConnector")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Instant};

    use super::*;
    use crate::database::Target;

    #[tokio::test]
    async fn a_server_that_does_not_answer_leaves_an_equal_share_of_the_time_to_the_others() {
        let target: Target = "postgres://sluice@a:1,b:2/sluice".parse().unwrap();
        let Target::Postgres(servers) = target else {
            panic!("two servers");
        };
        let limits = ServerLimits {
            of_statements: Vec::new(),
            of_connection: Vec::new(),
        };
        let connector =
            PostgresConnector::new(&servers, limits, Duration::from_millis(200), |server| {
                server
            });
        let begun = Instant::now();

        let used = connector.first_usable(|server| async {
            match server.get_port() {
                1 => pending().await,
                port => Ok(port),
            }
        });

        assert_eq!(used.await.unwrap(), 2);
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert_eq!(connector.0.connect_timeout, Duration::from_millis(100));
    }
}
