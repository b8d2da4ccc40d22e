//! SQLite's one connection that writes, on which transactions share a commit.
//!
//! What is acknowledged has been synced to the disk, and that takes longer than
//! all the rest. So transactions that wait for each other are put into one: each is
//! a savepoint in it, and only when it is committed all of them are acknowledged. One
//! that rolls back, or is dropped, takes only its own back.
//!
//! One task keeps the connection and lends it in turns, in the order in which
//! callers came. A turn that is dropped, wherever its caller stopped, comes back to it.
//!
//! Who rolls back waits for the commit as well: what it answers may rest on what
//! others in the group have written.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{Error as Failure, Sqlite, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    autocommit::Lender,
    connection::Line,
    group_commit::{Keeper, Member, Returned, Wish},
    pool::{PoolLimits, Waiting},
};

/// The one connection that writes. A clone shares it.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    address: SqliteConnectOptions,
    limits: PoolLimits,
    waiting: AtomicUsize,
    /// To the task that keeps the connection, as soon as there is one.
    queue: OnceLock<mpsc::UnboundedSender<Wish>>,
}

/// The connection, for one transaction. Dropping it rolls back.
pub struct Turn {
    /// There until it is given back.
    line: Option<Line<Sqlite>>,
    back: Option<oneshot::Sender<Returned>>,
}

impl Writer {
    /// A writer of a file; it is opened when it is needed.
    pub(super) fn new(address: SqliteConnectOptions, limits: PoolLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                address,
                limits,
                waiting: AtomicUsize::new(0),
                queue: OnceLock::new(),
            }),
        }
    }

    /// The file.
    pub(crate) fn address(&self) -> &SqliteConnectOptions {
        &self.shared.address
    }

    /// How long a call waits for its turn.
    pub(crate) fn acquire_timeout(&self) -> Duration {
        self.shared.limits.acquire
    }

    /// How many calls wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// A transaction, when it is its turn.
    pub(super) async fn take(&self) -> Result<Turn, Failure> {
        self.ask(Wish::Turn).await
    }

    /// Returns when what has been written so far is on the disk, or fails with it.
    pub(super) async fn settle(&self) -> Result<(), Failure> {
        self.ask(Wish::Settle).await
    }

    async fn ask<T>(
        &self,
        wish: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Wish,
    ) -> Result<T, Failure> {
        let (caller, granted) = oneshot::channel();
        let sent = self.queue().send(wish(caller));
        sent.map_err(|_| Failure::PoolClosed)?;

        let _waiting = Waiting::in_line(&self.shared.waiting);
        let granted = timeout(self.shared.limits.acquire, granted).await;
        let granted = granted.map_err(|_| Failure::PoolTimedOut)?;
        granted.unwrap_or(Err(Failure::PoolClosed))
    }

    /// Closes the connection, after the transactions that wait for it.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if let Some(queue) = self.shared.queue.get()
            && queue.send(Wish::Close(done)).is_ok()
        {
            // It is closed in any case when nobody answers.
            let _ = closed.await;
        }
    }

    fn queue(&self) -> &mpsc::UnboundedSender<Wish> {
        self.shared.queue.get_or_init(|| {
            let (queue, wishes) = mpsc::unbounded_channel();
            let keeper = Keeper::new(self.shared.address.clone(), self.shared.limits, wishes);
            tokio::spawn(keeper.run());
            queue
        })
    }
}

impl Turn {
    pub(super) fn new(line: Line<Sqlite>, back: oneshot::Sender<Returned>) -> Self {
        Self {
            line: Some(line),
            back: Some(back),
        }
    }

    /// Ends the transaction; returns when what it wrote, and what it read, is on the disk.
    pub(super) async fn end(mut self, kept: bool) -> Result<(), Failure> {
        let (caller, ended) = oneshot::channel();
        self.give_back(kept, Some(caller));
        ended.await.unwrap_or(Err(Failure::WorkerCrashed))
    }

    fn give_back(&mut self, kept: bool, caller: Option<Member>) {
        if let (Some(line), Some(back)) = (self.line.take(), self.back.take()) {
            // Where the keeper has gone, everything ends.
            let _ = back.send(Returned { line, kept, caller });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.give_back(false, None);
    }
}

impl Lender for Writer {
    type Server = Sqlite;
    type Loan = Turn;

    async fn lend(&self) -> Result<Turn, Failure> {
        self.take().await
    }

    async fn give_back(turn: Turn, succeeded: bool) -> Result<(), Failure> {
        turn.end(succeeded).await
    }
}

impl Deref for Turn {
    type Target = Line<Sqlite>;

    fn deref(&self) -> &Line<Sqlite> {
        self.line
            .as_ref()
            .expect("it is there until it is given back")
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Line<Sqlite> {
        self.line
            .as_mut()
            .expect("it is there until it is given back")
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}
