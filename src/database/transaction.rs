//! Transactions.

use std::ops::{Deref, DerefMut};

use sqlx::{Postgres, Sqlite};

use super::{
    autocommit::Acquire,
    connection::Connection,
    dialect::Dialect,
    engine::Engine,
    pool::{Pool, PooledConnection},
    write_lease::WriteLease,
};
use crate::error::{Error, Result};

/// An open transaction. Dropping it rolls it back.
pub type Transaction = Engine<PoolTransaction<Postgres>, SqliteTransaction>;

/// A transaction on a connection of a pool.
pub struct PoolTransaction<DB: Dialect> {
    connection: PooledConnection<DB>,
}

impl<DB: Dialect> PoolTransaction<DB> {
    /// Begins a transaction with a statement such as `begin`.
    pub(crate) async fn begin(pool: &Pool<DB>, sql: &'static str) -> Result<Self, sqlx::Error> {
        let mut connection = pool.acquire().await?;
        connection.in_transaction = true;
        connection.run(sql).await?;
        Ok(Self { connection })
    }

    async fn end(mut self, commit: bool) -> Result<(), sqlx::Error> {
        let sql = if commit { "commit" } else { "rollback" };
        self.connection.run(sql).await?;
        self.connection.in_transaction = false;
        Ok(())
    }
}

/// A transaction on SQLite.
pub enum SqliteTransaction {
    /// A read-only transaction.
    ReadOnly(PoolTransaction<Sqlite>),
    /// A transaction that writes, and shares its commit with others.
    Write(WriteLease),
}

impl SqliteTransaction {
    async fn end(self, commit: bool) -> Result<(), sqlx::Error> {
        match self {
            Self::ReadOnly(transaction) => transaction.end(commit).await,
            Self::Write(lease) => lease.end(commit).await,
        }
    }
}

impl Transaction {
    /// Rolls back at once, not only when the connection is used again.
    pub(crate) async fn rollback(self) -> Result<()> {
        Ok(on_engine!(self, transaction => transaction.end(false).await)?)
    }

    /// Commits, even if the caller goes away meanwhile.
    pub(crate) async fn commit(self) -> Result<()> {
        self.commit_then(|| ()).await
    }

    /// Commits, even if the caller goes away meanwhile, then calls a function.
    pub(crate) async fn commit_then(self, then: impl FnOnce() + Send + 'static) -> Result<()> {
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

impl<DB: Dialect> Deref for PoolTransaction<DB> {
    type Target = Connection<DB>;

    fn deref(&self) -> &Connection<DB> {
        &self.connection
    }
}

impl<DB: Dialect> DerefMut for PoolTransaction<DB> {
    fn deref_mut(&mut self) -> &mut Connection<DB> {
        &mut self.connection
    }
}

impl Deref for SqliteTransaction {
    type Target = Connection<Sqlite>;

    fn deref(&self) -> &Connection<Sqlite> {
        match self {
            Self::ReadOnly(transaction) => transaction,
            Self::Write(lease) => lease,
        }
    }
}

impl DerefMut for SqliteTransaction {
    fn deref_mut(&mut self) -> &mut Connection<Sqlite> {
        match self {
            Self::ReadOnly(transaction) => transaction,
            Self::Write(lease) => lease,
        }
    }
}
