//! SQLite's one connection that writes. Its transactions share commits (group commit).
//!
//! A transaction is acknowledged after it has been synced to the disk, which takes longer
//! than all its statements. So transactions that wait for each other run in one common
//! transaction, each but the first as a savepoint. All of them are acknowledged when it has
//! been committed. A rollback, or a dropped lease, undoes only its own savepoint.
//!
//! Statements run on the thread of the connection, and a trip there and back costs more than
//! most of them. So a savepoint is made in the trip of the first statement, released in that of
//! the next savepoint or by the commit, and statements without an answer share a trip (`script`).
//!
//! A transaction of queued statements only runs in one trip, in the task below, and needs no lease.
//!
//! One task owns the connection and leases it to one caller at a time, in the order of
//! their requests. A lease that is dropped, wherever its caller stopped, returns the
//! connection.
//!
//! A rollback waits for the commit as well: its caller's answer may depend on what others
//! in the group have written.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx_sqlite::{Sqlite, SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::Span;

use super::{
    autocommit::Acquire,
    group_commit::{Command, QueuedRun, WriterTask},
    pool::{PoolLimits, WaitingGuard},
    script::Script,
    sqlite_file::SqliteFile,
    write_lease::WriteLease,
};

/// The one connection that writes. A clone shares it.
#[derive(Debug, Clone)]
pub struct SqliteWriter(Arc<WriterInner>);

#[derive(Debug)]
struct WriterInner {
    connect_options: SqliteConnectOptions,
    file: SqliteFile,
    limits: PoolLimits,
    waiting: AtomicUsize,
    /// The commands to the task that owns the connection, once it is started.
    commands: OnceLock<mpsc::UnboundedSender<Command>>,
}

impl SqliteWriter {
    /// A writer of a file, which is opened when it is needed.
    pub(super) fn new(connect_options: SqliteConnectOptions, limits: PoolLimits) -> Self {
        Self(Arc::new(WriterInner {
            file: SqliteFile::new(connect_options.get_filename()),
            connect_options,
            limits,
            waiting: AtomicUsize::new(0),
            commands: OnceLock::new(),
        }))
    }

    /// The options to open the file.
    pub(crate) fn connect_options(&self) -> &SqliteConnectOptions {
        &self.0.connect_options
    }

    /// The file.
    pub(super) fn file(&self) -> &SqliteFile {
        &self.0.file
    }

    /// The maximum time that a call waits for the connection.
    pub(crate) fn acquire_timeout(&self) -> Duration {
        self.0.limits.acquire_timeout
    }

    /// The number of calls that wait for the connection.
    pub(super) fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Runs a transaction of queued statements. Returns when everything that it wrote and read is
    /// durable. Fails, and has not run, if it waits too long for the connection.
    pub(super) async fn run(&self, script: Script<Sqlite>) -> Result<(), sqlx::Error> {
        let (waiter, mut ended) = oneshot::channel();
        let is_taken = Arc::<AtomicBool>::default();
        let run = QueuedRun {
            script,
            is_taken: Arc::clone(&is_taken),
            span: Span::current(),
            waiter,
        };
        let sent = self.commands().send(Command::Run(Box::new(run)));
        sent.map_err(|_| sqlx::Error::PoolClosed)?;
        let in_time = {
            let _waiting = WaitingGuard::new(&self.0.waiting);
            timeout(self.0.limits.acquire_timeout, &mut ended).await
        };
        let ended = match in_time {
            Ok(ended) => ended,
            Err(_) if !is_taken.swap(true, Ordering::AcqRel) => {
                return Err(sqlx::Error::PoolTimedOut);
            }
            // It runs, within the timeout of its statements.
            Err(_) => ended.await,
        };
        ended.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Waits until everything that has been written so far is durable. Fails if its
    /// commit fails.
    pub(super) async fn wait_for_commit(&self) -> Result<(), sqlx::Error> {
        self.request(Command::WaitForCommit).await
    }

    async fn request<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, sqlx::Error>>) -> Command,
    ) -> Result<T, sqlx::Error> {
        let (responder, response) = oneshot::channel();
        let sent = self.commands().send(command(responder));
        sent.map_err(|_| sqlx::Error::PoolClosed)?;
        let _waiting = WaitingGuard::new(&self.0.waiting);
        let response = timeout(self.0.limits.acquire_timeout, response).await;
        let response = response.map_err(|_| sqlx::Error::PoolTimedOut)?;
        response.unwrap_or(Err(sqlx::Error::PoolClosed))
    }

    /// Closes the connection after the transactions that wait for it.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if let Some(commands) = self.0.commands.get()
            && commands.send(Command::Close(done)).is_ok()
        {
            // Without an answer the task has ended, and with it the connection.
            let _ = closed.await;
        }
    }

    fn commands(&self) -> &mpsc::UnboundedSender<Command> {
        self.0.commands.get_or_init(|| {
            let (sender, commands) = mpsc::unbounded_channel();
            let (options, file) = (self.0.connect_options.clone(), self.0.file.clone());
            tokio::spawn(WriterTask::new(options, file, self.0.limits, commands).run());
            sender
        })
    }
}

impl Acquire for SqliteWriter {
    type Dialect = Sqlite;
    type Guard = WriteLease;

    async fn acquire(&self) -> Result<WriteLease, sqlx::Error> {
        self.request(Command::Lease).await
    }

    async fn release(lease: WriteLease, succeeded: bool) -> Result<(), sqlx::Error> {
        lease.end(succeeded).await
    }
}
