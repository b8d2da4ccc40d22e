//! A connection with a timeout on every statement.
//!
//! The client enforces the timeout too, because a server that was stopped or cannot be
//! reached enforces none. A statement of SQLite that is given up is also interrupted: else its
//! thread would keep the locks until it ends.

use std::{
    fmt,
    future::Future,
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use sqlx::{
    Arguments, Connection as _, Describe, Either, Encode, Execute, Executor, SqlSafeStr, SqlStr,
    Type, database::Database, error::BoxDynError,
};
use tokio::time::{Instant, timeout_at};
use tokio_stream::{Stream, StreamExt};

use super::{
    dialect::Dialect,
    script::{Check, Script, prefixed, refusal},
};
use crate::telemetry::metrics::{STATEMENTS, StatementKind};

/// The result of a statement, boxed as sqlx requires it.
pub(super) type QueryFuture<'e, T> =
    Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'e>>;

/// The results of a statement, boxed as sqlx requires them.
pub(super) type QueryStream<'e, T> =
    Pin<Box<dyn Stream<Item = Result<T, sqlx::Error>> + Send + 'e>>;

/// The summary of a statement, or one of its rows.
pub(super) type SummaryOrRow<DB> = Either<<DB as Database>::QueryResult, <DB as Database>::Row>;

/// A connection with a timeout on every statement.
pub struct Connection<DB: Dialect> {
    pub(super) raw: DB::Connection,
    /// The time at which the pool replaces the connection.
    pub(super) expires_at: Option<Instant>,
    /// Whether prepared statements have a name, under which they are kept.
    names_statements: bool,
    state: ConnectionState,
    statement_timeout: Duration,
    /// The end of the timeout of the last statement.
    deadline: Instant,
    session: Option<DB::Session>,
    /// What runs before the next statement.
    script: Script<DB>,
}

/// Whether a connection can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// The connection is ready for the next statement.
    Healthy,
    /// The caller of the last statement has gone away before its end.
    Unfinished,
    /// The connection or its server has failed: no statement may run on it.
    Broken,
}

impl<DB: Dialect> Connection<DB> {
    /// Opens a connection that can be used.
    pub(super) async fn open(
        connector: &DB::Connector,
        statement_timeout: Duration,
    ) -> Result<Self, sqlx::Error> {
        let (raw, session) = DB::connect(connector).await?;
        Ok(Self {
            raw,
            expires_at: None,
            names_statements: DB::has_sessions(connector),
            state: ConnectionState::Healthy,
            statement_timeout,
            deadline: Instant::now(),
            session,
            script: Script::default(),
        })
    }

    pub(super) fn state(&self) -> ConnectionState {
        self.state
    }

    /// Drops the connection. Returns what the engine may hold longer.
    pub(super) fn into_session(self) -> Option<DB::Session> {
        self.session
    }

    /// Interrupts a statement whose caller has gone away, if the engine can.
    pub(super) fn interrupt(&self) {
        if let Some(session) = &self.session {
            DB::interrupt(session, true);
        }
    }

    /// Waits for a statement whose caller has gone away, and interrupts it at the end of its
    /// timeout. The connection is broken then.
    pub(super) async fn finish_abandoned(&mut self) {
        if self.state != ConnectionState::Unfinished {
            return;
        }
        let finished = timeout_at(self.deadline, self.raw.ping()).await;
        self.state = match finished {
            Ok(Ok(())) => ConnectionState::Healthy,
            _ => ConnectionState::Broken,
        };
        if self.state == ConnectionState::Broken {
            self.interrupt();
        }
    }

    /// Runs a statement without arguments and rows, such as `begin`.
    pub(super) async fn run(&mut self, sql: impl SqlSafeStr) -> Result<(), sqlx::Error> {
        let sql = sql.into_sql_str();
        let kind = StatementKind::of_control(sql.as_str());
        self.timed(kind, |raw| DB::run(raw, sql)).await
    }

    /// Makes a savepoint together with the next statement.
    pub(super) fn open_with(&mut self, statements: &[&'static str]) {
        self.script.open_with(statements);
    }

    /// Drops the statements that wait. Returns whether the savepoint has been made.
    pub(super) fn discard_script(&mut self) -> bool {
        let script = std::mem::take(&mut self.script);
        !script.has_opening()
    }

    /// A statement, after the control statements that wait, that is prepared under a name only if
    /// the connection names statements.
    fn named<E>(&mut self, query: E) -> Named<E> {
        Named {
            query,
            opening: self.script.take_opening(),
            may_have_name: self.names_statements,
        }
    }

    async fn with_timeout<'c, T, F>(
        &'c mut self,
        statement: impl FnOnce(&'c mut DB::Connection) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        self.timed(StatementKind::Query, statement).await
    }

    /// Runs a statement within its timeout, and records its duration.
    async fn timed<'c, T, F>(
        &'c mut self,
        kind: StatementKind,
        statement: impl FnOnce(&'c mut DB::Connection) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        if self.state == ConnectionState::Broken {
            return Err(
                io::Error::new(ErrorKind::NotConnected, "the connection has failed").into(),
            );
        }
        // The state remains if the caller goes away before the answer.
        self.state = ConnectionState::Unfinished;
        let started_at = Instant::now();
        self.deadline = started_at + self.statement_timeout;
        let interrupt = |is_interrupted| {
            if let Some(session) = &self.session {
                DB::interrupt(session, is_interrupted);
            }
        };
        interrupt(false);
        let answer = timeout_at(self.deadline, statement(&mut self.raw)).await;
        STATEMENTS.record(kind, started_at.elapsed());
        let answer = answer.unwrap_or_else(|_| {
            interrupt(true);
            Err(sqlx::Error::Io(ErrorKind::TimedOut.into()))
        });
        self.state = match &answer {
            Err(error) if DB::is_broken_by(error) => ConnectionState::Broken,
            _ => ConnectionState::Healthy,
        };
        answer
    }
}

impl<DB: Dialect> fmt::Debug for Connection<DB> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl<DB: Dialect> Connection<DB>
where
    for<'r> &'r mut DB::Connection: Executor<'r, Database = DB>,
{
    /// Replaces the statements of callers that wait, after the control statements that wait.
    pub(super) fn set_script(&mut self, script: Script<DB>) {
        let opening = self.script.take_opening();
        self.script = script;
        self.script.open_with(&opening);
    }

    /// Runs the statements of callers that wait.
    pub(super) async fn run_queued(&mut self) -> Result<(), sqlx::Error> {
        match self.script.is_control_only() {
            true => Ok(()),
            false => self.run_script().await,
        }
    }

    /// Runs all statements that wait. The first one that fails, or whose check fails, is the last.
    async fn run_script(&mut self) -> Result<(), sqlx::Error> {
        if self.script.is_empty() {
            return Ok(());
        }
        let (query, checks) = std::mem::take(&mut self.script).into_query();
        let query = self.named(query);
        let mut answers: Vec<SummaryOrRow<DB>> = Vec::new();
        let read = &mut answers;
        let running = self.with_timeout(move |raw| async move {
            let mut stream = raw.fetch_many(query);
            while let Some(answer) = stream.next().await {
                read.push(answer?);
            }
            Ok(())
        });
        let done = running.await;
        let mut checks = checks.into_iter();
        let mut rows = 0;
        for answer in answers {
            match answer {
                Either::Right(_) => rows += 1,
                Either::Left(summary) => {
                    let check = checks.next().unwrap_or_default();
                    let changed = DB::rows_affected(&summary);
                    check.of_answer(rows, changed).map_err(refusal)?;
                    rows = 0;
                }
            }
        }
        done.map_err(|error| checks.next().unwrap_or_default().of_failure(error))
    }
}

/// The statements of a transaction whose answers matter only to their checks.
pub enum StatementQueue<'q, DB: Dialect> {
    /// SQLite runs them with the next statement that has an answer, or before the commit;
    /// PostgreSQL at once.
    Connection(&'q mut Connection<DB>),
    /// They run at the commit.
    Script(&'q mut Script<DB>),
}

impl<'q, DB: Dialect> StatementQueue<'q, DB> {
    /// Queues a statement.
    pub(crate) fn push(mut self, sql: &'static str, check: Check) -> QueuedStatement<'q, DB> {
        self.script().push(sql, check);
        QueuedStatement {
            queue: self,
            bound: Ok(()),
        }
    }

    fn script(&mut self) -> &mut Script<DB> {
        match self {
            Self::Connection(connection) => &mut connection.script,
            Self::Script(script) => script,
        }
    }
}

/// A queued statement whose arguments are being bound.
#[must_use = "it must be submitted"]
pub struct QueuedStatement<'q, DB: Dialect> {
    queue: StatementQueue<'q, DB>,
    bound: Result<(), BoxDynError>,
}

impl<DB: Dialect> QueuedStatement<'_, DB>
where
    DB::Arguments: Arguments<Database = DB>,
    for<'r> &'r mut DB::Connection: Executor<'r, Database = DB>,
{
    /// Binds the next argument.
    pub(crate) fn bind<'t, T>(mut self, value: T) -> Self
    where
        T: Encode<'t, DB> + Type<DB>,
    {
        if self.bound.is_ok() {
            self.bound = self.queue.script().bind(value);
        }
        self
    }

    /// Leaves the statement in the queue, or runs it.
    pub(crate) async fn submit(self) -> Result<(), sqlx::Error> {
        self.bound.map_err(sqlx::Error::Encode)?;
        match self.queue {
            StatementQueue::Connection(connection)
                if !DB::QUEUES_STATEMENTS || connection.script.is_long() =>
            {
                connection.run_script().await
            }
            _ => Ok(()),
        }
    }
}

impl<'c, DB: Dialect> Executor<'c> for &'c mut Connection<DB>
where
    for<'r> &'r mut DB::Connection: Executor<'r, Database = DB>,
{
    type Database = DB;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> QueryFuture<'e, DB::QueryResult>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(async move {
            let mut total = DB::QueryResult::default();
            let answers = self
                .fetch_many(query)
                .collect::<Result<Vec<_>, _>>()
                .await?;
            total.extend(answers.into_iter().filter_map(Either::left));
            Ok(total)
        })
    }

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> QueryStream<'e, SummaryOrRow<DB>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        BufferedRows::stream(async move {
            self.run_queued().await?;
            let query = self.named(query);
            // The summaries of control statements, which have no rows.
            let skipped = query.opening.len();
            let reading = self.with_timeout(move |raw| raw.fetch_many(query).collect());
            let mut answers: Vec<_> = reading.await?;
            answers.drain(..skipped.min(answers.len()));
            Ok(answers)
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> QueryFuture<'e, Option<DB::Row>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(async move {
            self.run_queued().await?;
            let query = self.named(query);
            self.with_timeout(move |raw| raw.fetch_optional(query))
                .await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> QueryFuture<'e, DB::Statement>
    where
        'c: 'e,
    {
        Box::pin(self.with_timeout(move |raw| raw.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> QueryFuture<'e, Describe<DB>>
    where
        'c: 'e,
    {
        Box::pin(self.with_timeout(move |raw| raw.describe(sql)))
    }
}

/// A statement after control statements, and whether the session may keep it under a name.
struct Named<E> {
    query: E,
    opening: Vec<&'static str>,
    may_have_name: bool,
}

impl<'q, DB: Database, E: Execute<'q, DB>> Execute<'q, DB> for Named<E> {
    fn sql(self) -> SqlStr {
        let sql = self.query.sql();
        match self.opening.is_empty() {
            true => sql,
            false => prefixed(&self.opening, sql.as_str()),
        }
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.may_have_name && self.query.persistent()
    }
}

/// Reads all rows before it yields the first one, so that a slow consumer does not keep
/// the connection.
pub(super) enum BufferedRows<'e, T> {
    Reading(QueryFuture<'e, Vec<T>>),
    Yielding(std::vec::IntoIter<T>),
}

impl<'e, T: Send + 'e> BufferedRows<'e, T> {
    pub(super) fn stream(
        reading: impl Future<Output = Result<Vec<T>, sqlx::Error>> + Send + 'e,
    ) -> QueryStream<'e, T> {
        Box::pin(Self::Reading(Box::pin(reading)))
    }
}

// Rows are never pinned.
impl<T> Unpin for BufferedRows<'_, T> {}

impl<T> Stream for BufferedRows<'_, T> {
    type Item = Result<T, sqlx::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut *self {
                Self::Yielding(rows) => return Poll::Ready(rows.next().map(Ok)),
                Self::Reading(reading) => match reading.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(rows)) => *self = Self::Yielding(rows.into_iter()),
                    Poll::Ready(Err(error)) => {
                        *self = Self::Yielding(Vec::new().into_iter());
                        return Poll::Ready(Some(Err(error)));
                    }
                },
            }
        }
    }
}
