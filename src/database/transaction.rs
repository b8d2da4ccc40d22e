//! Transactions: begun, and ended once.

use std::ops::{Deref, DerefMut};

use sqlx::{Error as Failure, Postgres, Sqlite};

use super::{
    connection::Line,
    dialect::Server,
    engine::Engine,
    pool::{Held, Pool},
    writer::Turn,
};
use crate::error::{Error, Result};

/// An open transaction. Dropping it rolls it back.
pub type Transaction = Engine<Open<Postgres>, OnSqlite>;

/// A transaction on one engine.
pub struct Open<DB: Server> {
    held: Held<DB>,
}

impl<DB: Server> Open<DB> {
    /// Begins one with a statement such as `begin`.
    pub(crate) async fn begin(pool: &Pool<DB>, sql: &'static str) -> Result<Self, Failure> {
        let mut held = pool.take().await?;
        held.in_transaction = true;
        held.run(sql).await?;
        Ok(Self { held })
    }

    async fn end(mut self, kept: bool) -> Result<(), Failure> {
        let sql = if kept { "commit" } else { "rollback" };
        self.held.run(sql).await?;
        self.held.in_transaction = false;
        Ok(())
    }
}

/// A transaction on SQLite.
pub enum OnSqlite {
    /// One that only reads.
    Reading(Open<Sqlite>),
    /// One that writes, and shares its commit with others.
    Writing(Turn),
}

impl OnSqlite {
    async fn end(self, kept: bool) -> Result<(), Failure> {
        match self {
            Self::Reading(transaction) => transaction.end(kept).await,
            Self::Writing(turn) => turn.end(kept).await,
        }
    }
}

impl Transaction {
    /// Rolls back, and does not wait for somebody to use the connection again.
    pub(crate) async fn rollback(self) -> Result<()> {
        Ok(on_engine!(self, transaction => transaction.end(false).await)?)
    }

    /// Commits, even if whoever waits for it goes away.
    pub(crate) async fn commit(self) -> Result<()> {
        self.commit_then(|| ()).await
    }

    /// The same, and does something more once it is committed.
    pub(crate) async fn commit_then(self, then: impl FnOnce() + Send + 'static) -> Result<()> {
        let commit = tokio::spawn(async move {
            on_engine!(self, transaction => transaction.end(true).await)?;
            then();
            Ok::<_, Failure>(())
        });
        match commit.await {
            Ok(committed) => Ok(committed?),
            Err(stopped) => Err(Error::internal(stopped)),
        }
    }
}

impl<DB: Server> Deref for Open<DB> {
    type Target = Line<DB>;

    fn deref(&self) -> &Line<DB> {
        &self.held
    }
}

impl<DB: Server> DerefMut for Open<DB> {
    fn deref_mut(&mut self) -> &mut Line<DB> {
        &mut self.held
    }
}

impl Deref for OnSqlite {
    type Target = Line<Sqlite>;

    fn deref(&self) -> &Line<Sqlite> {
        match self {
            Self::Reading(transaction) => transaction,
            Self::Writing(turn) => turn,
        }
    }
}

impl DerefMut for OnSqlite {
    fn deref_mut(&mut self) -> &mut Line<Sqlite> {
        match self {
            Self::Reading(transaction) => transaction,
            Self::Writing(turn) => turn,
        }
    }
}
