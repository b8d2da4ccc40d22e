use std::ops::{Deref, DerefMut};

use sqlx_sqlite::Sqlite;
use tokio::sync::oneshot;

use super::connection::Connection;

/// Receives the result of a commit.
pub(super) type CommitWaiter = oneshot::Sender<Result<(), sqlx::Error>>;

/// Exclusive use of the writing connection for one transaction. Dropping it rolls back.
pub struct WriteLease {
    /// `None` after the connection was returned.
    connection: Option<Connection<Sqlite>>,
    return_to: Option<oneshot::Sender<ReturnedLease>>,
}

/// The connection at the end of a lease.
pub(super) struct ReturnedLease {
    pub connection: Connection<Sqlite>,
    pub commit: bool,
    pub waiter: Option<CommitWaiter>,
}

impl WriteLease {
    pub(super) fn new(
        connection: Connection<Sqlite>,
        return_to: oneshot::Sender<ReturnedLease>,
    ) -> Self {
        Self {
            connection: Some(connection),
            return_to: Some(return_to),
        }
    }

    /// Ends the transaction, whose queue is empty or dropped. Returns when everything that it wrote and read is durable.
    pub(super) async fn end(mut self, commit: bool) -> Result<(), sqlx::Error> {
        let (waiter, ended) = oneshot::channel();
        self.give_back(commit, Some(waiter));
        ended.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    fn give_back(&mut self, commit: bool, waiter: Option<CommitWaiter>) {
        if let (Some(connection), Some(return_to)) = (self.connection.take(), self.return_to.take())
        {
            // Without the writer task, dropping the connection rolls back.
            let _ = return_to.send(ReturnedLease {
                connection,
                commit,
                waiter,
            });
        }
    }
}

impl Drop for WriteLease {
    fn drop(&mut self) {
        self.give_back(false, None);
    }
}

impl Deref for WriteLease {
    type Target = Connection<Sqlite>;

    fn deref(&self) -> &Connection<Sqlite> {
        self.connection
            .as_ref()
            .expect("it is there until it is returned")
    }
}

impl DerefMut for WriteLease {
    fn deref_mut(&mut self) -> &mut Connection<Sqlite> {
        self.connection
            .as_mut()
            .expect("it is there until it is returned")
    }
}
