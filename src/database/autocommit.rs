//! Statements that stand alone: each on a connection that is lent for it.

use std::{fmt, future::Future, ops::DerefMut};

use sqlx::{Describe, Error as Failure, Execute, Executor, SqlStr};
use tokio_stream::StreamExt;

use super::{
    connection::{Answer, Answers, Collected, Line, Step},
    dialect::Server,
};

/// What lends connections.
pub trait Lender: Sync {
    /// The engine.
    type Server: Server;

    /// A connection that is lent.
    type Loan: DerefMut<Target = Line<Self::Server>> + Send;

    /// Lends a connection.
    fn lend(&self) -> impl Future<Output = Result<Self::Loan, Failure>> + Send;

    /// Takes it back, whether the statement succeeded or not; only then there is an answer.
    fn give_back(
        loan: Self::Loan,
        succeeded: bool,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Where to run one statement.
pub struct Single<'a, L>(pub(crate) &'a L);

impl<L> fmt::Debug for Single<'_, L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Single").finish_non_exhaustive()
    }
}

async fn end<L: Lender, T>(loan: L::Loan, answer: Result<T, Failure>) -> Result<T, Failure> {
    let given = L::give_back(loan, answer.is_ok()).await;
    let answer = answer?;
    given?;
    Ok(answer)
}

impl<'c, L: Lender> Executor<'c> for Single<'c, L>
where
    for<'r> &'r mut <L::Server as sqlx::Database>::Connection: Executor<'r, Database = L::Server>,
{
    type Database = L::Server;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Answers<'e, Step<L::Server>>
    where
        'c: 'e,
        E: 'q + Execute<'q, L::Server>,
    {
        Collected::stream(async move {
            let mut loan = self.0.lend().await?;
            let answer = loan.fetch_many(query).collect().await;
            end::<L, _>(loan, answer).await
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> Answer<'e, Option<<L::Server as sqlx::Database>::Row>>
    where
        'c: 'e,
        E: 'q + Execute<'q, L::Server>,
    {
        Box::pin(async move {
            let mut loan = self.0.lend().await?;
            let answer = loan.fetch_optional(query).await;
            end::<L, _>(loan, answer).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [<L::Server as sqlx::Database>::TypeInfo],
    ) -> Answer<'e, <L::Server as sqlx::Database>::Statement>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let mut loan = self.0.lend().await?;
            let answer = loan.prepare_with(sql, parameters).await;
            end::<L, _>(loan, answer).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> Answer<'e, Describe<L::Server>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let mut loan = self.0.lend().await?;
            let answer = loan.describe(sql).await;
            end::<L, _>(loan, answer).await
        })
    }
}
