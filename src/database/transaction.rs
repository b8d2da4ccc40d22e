//! Transactions.

use sqlx_postgres::Postgres;
use sqlx_sqlite::Sqlite;

use super::{
    connection::Connection, engine::Engine, pool::PooledConnection, write_lease::WriteLease,
};
use crate::error::{Error, Result};

/// An open transaction. Dropping it rolls it back.
pub type Transaction = Engine<PooledConnection<Postgres>, SqliteTransaction>;

/// A transaction on SQLite.
pub enum SqliteTransaction {
    /// A read-only transaction.
    ReadOnly(PooledConnection<Sqlite>),
    /// A transaction that writes, and shares its commit with others.
    Write(WriteLease),
}

impl SqliteTransaction {
    async fn end(self, commit: bool) -> Result<(), sqlx::Error> {
        match self {
            Self::ReadOnly(connection) => connection.end(commit).await,
            Self::Write(lease) => lease.end(commit).await,
        }
    }
}

impl Transaction {
    /// Runs statements of the transaction.
    pub(crate) fn executor(
        &mut self,
    ) -> Engine<&mut Connection<Postgres>, &mut Connection<Sqlite>> {
        match self {
            Self::Postgres(connection) => Engine::Postgres(connection),
            Self::Sqlite(SqliteTransaction::ReadOnly(connection)) => Engine::Sqlite(connection),
            Self::Sqlite(SqliteTransaction::Write(lease)) => Engine::Sqlite(lease),
        }
    }

    /// Rolls back at once, not only when the connection is used again; returns `answer`.
    pub(crate) async fn rollback<T>(self, answer: T) -> Result<T> {
        on_engine!(self, transaction => transaction.end(false).await)?;
        Ok(answer)
    }

    /// Commits, even if the caller goes away meanwhile; returns `answer`.
    pub(crate) async fn commit<T>(self, answer: T) -> Result<T> {
        self.commit_then(|| ()).await?;
        Ok(answer)
    }

    /// Commits, even if the caller goes away meanwhile, then calls a function.
    pub(crate) async fn commit_then(mut self, then: impl FnOnce() + Send + 'static) -> Result<()> {
        // Not in the task of the commit: a statement belongs to the span of its call.
        on_engine!(self.executor(), connection => connection.run_queued().await)?;
        let commit = tokio::spawn(async move {
            on_engine!(self, transaction => transaction.end(true).await)?;
            then();
            Ok::<_, sqlx::Error>(())
        });
        match commit.await {
            Ok(committed) => Ok(committed?),
            Err(stopped) => Err(Error::internal(stopped)),
        }
    }
}
