//! Transactions.

use sqlx_postgres::Postgres;
use sqlx_sqlite::Sqlite;
use tracing::Instrument;

use super::{
    connection::{Connection, StatementQueue},
    engine::Engine,
    pool::PooledConnection,
    script::Script,
    sqlite_writer::SqliteWriter,
    write_lease::WriteLease,
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

/// An open transaction of queued statements only. Dropping it rolls it back.
///
/// On SQLite it takes the writing connection only for the commit, which runs the whole transaction
/// in one trip.
pub type QueuedTransaction = Engine<PooledConnection<Postgres>, QueuedWrite>;

/// A transaction of queued statements on SQLite.
pub struct QueuedWrite {
    writer: SqliteWriter,
    script: Script<Sqlite>,
}

/// A transaction that can queue statements.
pub(crate) trait QueueStatements {
    /// The queue.
    fn queue(&mut self) -> Engine<StatementQueue<'_, Postgres>, StatementQueue<'_, Sqlite>>;
}

impl QueueStatements for Transaction {
    fn queue(&mut self) -> Engine<StatementQueue<'_, Postgres>, StatementQueue<'_, Sqlite>> {
        // The method of its own.
        Self::queue(self)
    }
}

impl QueueStatements for QueuedTransaction {
    fn queue(&mut self) -> Engine<StatementQueue<'_, Postgres>, StatementQueue<'_, Sqlite>> {
        Self::queue(self)
    }
}

impl QueuedWrite {
    pub(super) fn new(writer: SqliteWriter) -> Self {
        Self {
            writer,
            script: Script::default(),
        }
    }
}

impl QueuedTransaction {
    /// Queues statements of the transaction.
    pub(crate) fn queue(
        &mut self,
    ) -> Engine<StatementQueue<'_, Postgres>, StatementQueue<'_, Sqlite>> {
        match self {
            Self::Postgres(connection) => Engine::Postgres(StatementQueue::Connection(connection)),
            Self::Sqlite(write) => Engine::Sqlite(StatementQueue::Script(&mut write.script)),
        }
    }

    /// Commits, even if the caller goes away meanwhile, then calls a function. On SQLite a
    /// transaction that still waits for the connection is given up with its caller.
    pub(crate) async fn commit_then(self, then: impl FnOnce() + Send + 'static) -> Result<()> {
        let (ending, _guard) = match self {
            Self::Postgres(connection) => (Engine::Postgres(connection), None),
            Self::Sqlite(QueuedWrite { writer, script }) => {
                let run = writer.submit(script)?;
                let guard = run.guard();
                (Engine::Sqlite(run), Some(guard))
            }
        };
        let commit = async move {
            match ending {
                Engine::Postgres(connection) => connection.end(true).await?,
                Engine::Sqlite(run) => run.finish().await?,
            }
            then();
            Ok::<_, sqlx::Error>(())
        };
        match tokio::spawn(commit.in_current_span()).await {
            Ok(committed) => Ok(committed?),
            Err(stopped) => Err(Error::internal(stopped)),
        }
    }

    /// Commits, even if the caller goes away meanwhile; returns `answer`.
    pub(crate) async fn commit<T>(self, answer: T) -> Result<T> {
        self.commit_then(|| ()).await?;
        Ok(answer)
    }
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

    /// Queues statements of the transaction.
    pub(crate) fn queue(
        &mut self,
    ) -> Engine<StatementQueue<'_, Postgres>, StatementQueue<'_, Sqlite>> {
        match self.executor() {
            Engine::Postgres(connection) => {
                Engine::Postgres(StatementQueue::Connection(connection))
            }
            Engine::Sqlite(connection) => Engine::Sqlite(StatementQueue::Connection(connection)),
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
