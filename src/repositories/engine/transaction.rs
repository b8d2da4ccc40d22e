//! Transactions: begun, and ended once.

use std::ops::{Deref, DerefMut};

use sqlx::{Error as Failure, Postgres, Sqlite};

use super::{
    line::Line,
    pool::{Held, Pool},
    server::Server,
    which::Engine,
};
use crate::error::{Error, Result};

/// An open transaction. Dropping it rolls it back.
pub type Transaction = Engine<Open<Postgres>, Open<Sqlite>>;

/// A transaction on one engine.
pub struct Open<DB: Server> {
    held: Held<DB>,
}

impl<DB: Server> Open<DB> {
    /// Begins one with a statement such as `begin`.
    pub(super) async fn begin(pool: &Pool<DB>, sql: &'static str) -> Result<Self, Failure> {
        let mut held = pool.take().await?;
        held.in_transaction = true;
        held.run(sql).await?;
        Ok(Self { held })
    }

    async fn end(mut self, sql: &'static str) -> Result<(), Failure> {
        self.held.run(sql).await?;
        self.held.in_transaction = false;
        Ok(())
    }
}

impl Transaction {
    /// Rolls back, and does not wait for somebody to use the connection again.
    pub(in crate::repositories) async fn rollback(self) -> Result<()> {
        Ok(on_engine!(self, transaction => transaction.end("rollback").await)?)
    }

    /// Commits, even if whoever waits for it goes away.
    pub(in crate::repositories) async fn commit(self) -> Result<()> {
        self.commit_then(|| ()).await
    }

    /// The same, and does something more once it is committed.
    pub(super) async fn commit_then(self, then: impl FnOnce() + Send + 'static) -> Result<()> {
        let commit = tokio::spawn(async move {
            on_engine!(self, transaction => transaction.end("commit").await)?;
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
