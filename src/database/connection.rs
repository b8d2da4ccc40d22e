//! One connection, on which every statement has a time limit.
//!
//! The limit stands here and not only at the server, because a server that was
//! stopped, or cannot be reached any more, keeps no limits.

use std::{
    fmt,
    future::Future,
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use sqlx::{Describe, Either, Error as Failure, Execute, Executor, SqlStr, database::Database};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};

use super::dialect::Server;

/// What a statement leads to, boxed as sqlx wants it.
pub(super) type Answer<'e, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'e>>;

/// What a statement leads to, one after the other.
pub(super) type Answers<'e, T> = Pin<Box<dyn Stream<Item = Result<T, Failure>> + Send + 'e>>;

/// A count of rows, or a row.
pub(super) type Step<DB> = Either<<DB as Database>::QueryResult, <DB as Database>::Row>;

/// A connection with a time limit on each statement.
pub struct Line<DB: Server> {
    pub(super) raw: DB::Connection,
    state: LineState,
    limit: Duration,
}

/// Whether a connection can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineState {
    /// It waits for the next statement.
    Sound,
    /// Nobody waited for the end of the last statement.
    Unfinished,
    /// It failed, or its server: nothing may be run on it any more.
    Broken,
}

impl<DB: Server> Line<DB> {
    pub(super) fn new(raw: DB::Connection, limit: Duration) -> Self {
        Self {
            raw,
            state: LineState::Sound,
            limit,
        }
    }

    pub(super) fn state(&self) -> LineState {
        self.state
    }

    /// Runs what has no arguments and no rows, such as `begin`.
    pub(super) async fn run(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.limited(|raw| DB::run(raw, sql)).await
    }

    async fn limited<'l, T, F>(
        &'l mut self,
        statement: impl FnOnce(&'l mut DB::Connection) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let Self { raw, state, limit } = self;
        if *state == LineState::Broken {
            return Err(
                io::Error::new(ErrorKind::NotConnected, "the connection has failed").into(),
            );
        }
        // And so it stays if whoever waits for the answer goes away.
        *state = LineState::Unfinished;
        let answer = timeout(*limit, statement(raw)).await;
        let answer = answer.unwrap_or_else(|_| Err(Failure::Io(ErrorKind::TimedOut.into())));
        *state = match &answer {
            Err(failure) if DB::is_broken_by(failure) => LineState::Broken,
            _ => LineState::Sound,
        };
        answer
    }
}

impl<DB: Server> fmt::Debug for Line<DB> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Line").finish_non_exhaustive()
    }
}

impl<'c, DB: Server> Executor<'c> for &'c mut Line<DB>
where
    for<'r> &'r mut DB::Connection: Executor<'r, Database = DB>,
{
    type Database = DB;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> Answer<'e, DB::QueryResult>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(self.limited(move |raw| raw.execute(query)))
    }

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Answers<'e, Step<DB>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Collected::stream(self.limited(move |raw| raw.fetch_many(query).collect()))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Answer<'e, Option<DB::Row>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(self.limited(move |raw| raw.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> Answer<'e, DB::Statement>
    where
        'c: 'e,
    {
        Box::pin(self.limited(move |raw| raw.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> Answer<'e, Describe<DB>>
    where
        'c: 'e,
    {
        Box::pin(self.limited(move |raw| raw.describe(sql)))
    }
}

/// Rows that have all been read, so that the connection is free however slowly
/// they are used.
pub(super) enum Collected<'e, T> {
    /// They are being read.
    Reading(Answer<'e, Vec<T>>),
    /// They are there.
    Read(std::vec::IntoIter<T>),
}

impl<'e, T: Send + 'e> Collected<'e, T> {
    pub(super) fn stream(
        reading: impl Future<Output = Result<Vec<T>, Failure>> + Send + 'e,
    ) -> Answers<'e, T> {
        Box::pin(Self::Reading(Box::pin(reading)))
    }
}

// Rows are never pinned.
impl<T> Unpin for Collected<'_, T> {}

impl<T> Stream for Collected<'_, T> {
    type Item = Result<T, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut *self {
                Self::Read(rows) => return Poll::Ready(rows.next().map(Ok)),
                Self::Reading(reading) => match reading.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(rows)) => *self = Self::Read(rows.into_iter()),
                    Poll::Ready(Err(failure)) => {
                        *self = Self::Read(Vec::new().into_iter());
                        return Poll::Ready(Some(Err(failure)));
                    }
                },
            }
        }
    }
}
