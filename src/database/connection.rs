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
    ConnectOptions, Connection as _, Describe, Either, Execute, Executor, SqlStr,
    database::Database,
};
use tokio::time::{Instant, timeout_at};
use tokio_stream::{Stream, StreamExt};

use super::dialect::{ConnectOptionsOf, Dialect};

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
    state: ConnectionState,
    statement_timeout: Duration,
    /// The end of the timeout of the last statement.
    deadline: Instant,
    session: DB::Session,
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
        options: &ConnectOptionsOf<DB>,
        statement_timeout: Duration,
    ) -> Result<Self, sqlx::Error> {
        let mut raw = options.connect().await?;
        let session = DB::after_connect(&mut raw).await?;
        Ok(Self {
            raw,
            expires_at: None,
            state: ConnectionState::Healthy,
            statement_timeout,
            deadline: Instant::now(),
            session,
        })
    }

    pub(super) fn state(&self) -> ConnectionState {
        self.state
    }

    /// What the engine holds for the connection.
    pub(super) fn session(&self) -> &DB::Session {
        &self.session
    }

    /// Interrupts a statement whose caller has gone away, if the engine can.
    pub(super) fn interrupt(&self) {
        DB::interrupt(&self.session, true);
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
    pub(super) async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.with_timeout(|raw| DB::run(raw, sql)).await
    }

    async fn with_timeout<'c, T, F>(
        &'c mut self,
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
        self.deadline = Instant::now() + self.statement_timeout;
        DB::interrupt(&self.session, false);
        let answer = timeout_at(self.deadline, statement(&mut self.raw)).await;
        let answer = answer.unwrap_or_else(|_| {
            DB::interrupt(&self.session, true);
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
        Box::pin(self.with_timeout(move |raw| raw.execute(query)))
    }

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> QueryStream<'e, SummaryOrRow<DB>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        BufferedRows::stream(self.with_timeout(move |raw| raw.fetch_many(query).collect()))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> QueryFuture<'e, Option<DB::Row>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(self.with_timeout(move |raw| raw.fetch_optional(query)))
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
