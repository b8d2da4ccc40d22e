//! Statements outside of transactions, each on a connection of its own.

use std::{fmt, future::Future, ops::DerefMut};

use sqlx::{Describe, Execute, Executor, SqlStr};
use tokio_stream::StreamExt;

use super::{
    connection::{BufferedRows, Connection, QueryFuture, QueryStream, SummaryOrRow},
    dialect::Dialect,
    engine::Engine,
};

/// A source of connections.
pub trait Acquire: Sync + fmt::Debug {
    /// The engine.
    type Dialect: Dialect;

    /// A connection in use.
    type Guard: DerefMut<Target = Connection<Self::Dialect>> + Send;

    /// Waits for a connection.
    fn acquire(&self) -> impl Future<Output = Result<Self::Guard, sqlx::Error>> + Send;

    /// Gives a connection back after a statement that has succeeded or not. Returns when
    /// the statement is durable.
    fn release(
        guard: Self::Guard,
        succeeded: bool,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Runs one statement on a connection of this source.
#[derive(Debug)]
pub struct Autocommit<'a, A>(pub(crate) &'a A);

impl<P: Acquire, S: Acquire> Engine<Autocommit<'_, P>, Autocommit<'_, S>> {
    /// Itself, which runs one statement.
    pub(crate) fn executor(self) -> Self {
        self
    }
}

async fn release<A: Acquire, T>(
    guard: A::Guard,
    answer: Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let released = A::release(guard, answer.is_ok()).await;
    let answer = answer?;
    released?;
    Ok(answer)
}

impl<'c, A: Acquire> Executor<'c> for Autocommit<'c, A>
where
    for<'r> &'r mut <A::Dialect as sqlx::Database>::Connection: Executor<'r, Database = A::Dialect>,
{
    type Database = A::Dialect;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> QueryStream<'e, SummaryOrRow<A::Dialect>>
    where
        'c: 'e,
        E: 'q + Execute<'q, A::Dialect>,
    {
        BufferedRows::stream(async move {
            let mut guard = self.0.acquire().await?;
            let answer = guard.fetch_many(query).collect().await;
            release::<A, _>(guard, answer).await
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> QueryFuture<'e, Option<<A::Dialect as sqlx::Database>::Row>>
    where
        'c: 'e,
        E: 'q + Execute<'q, A::Dialect>,
    {
        Box::pin(async move {
            let mut guard = self.0.acquire().await?;
            let answer = guard.fetch_optional(query).await;
            release::<A, _>(guard, answer).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [<A::Dialect as sqlx::Database>::TypeInfo],
    ) -> QueryFuture<'e, <A::Dialect as sqlx::Database>::Statement>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let mut guard = self.0.acquire().await?;
            let answer = guard.prepare_with(sql, parameters).await;
            release::<A, _>(guard, answer).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> QueryFuture<'e, Describe<A::Dialect>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let mut guard = self.0.acquire().await?;
            let answer = guard.describe(sql).await;
            release::<A, _>(guard, answer).await
        })
    }
}
