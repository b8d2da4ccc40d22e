//! The task that owns SQLite's writing connection and groups its transactions.

use std::{
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::Connection as _;
use sqlx_sqlite::{Sqlite, SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tracing::{Instrument, Span};

use super::{
    connection::{Connection, ConnectionState},
    errors::is_disk_full,
    pool::{PoolLimits, WaitingGuard},
    script::Script,
    sqlite_file::SqliteFile,
    write_lease::{CommitWaiter, ReturnedLease, WriteLease},
};

/// The maximum number of transactions that share a commit.
const MAX_GROUP_SIZE: usize = 64;

/// The maximum time that the first transaction of a group waits for others.
///
/// A sync takes about 3 ms. After 10 ms of work, three quarters of the time go to work,
/// and no caller waits noticeably longer.
const MAX_GROUP_AGE: Duration = Duration::from_millis(10);

/// A request to the writer task.
pub(super) enum Command {
    /// Leases the connection.
    Lease(oneshot::Sender<Result<WriteLease, sqlx::Error>>),
    /// Runs a whole transaction.
    Run(Box<QueuedRun>),
    /// Waits for the commit of the open group.
    WaitForCommit(CommitWaiter),
    /// Commits and closes the connection.
    Close(oneshot::Sender<()>),
}

/// A whole transaction to run.
pub(super) struct QueuedRun {
    /// Its statements.
    pub script: Script<Sqlite>,
    /// Set by whoever is first: the caller that gives up or goes away, or the task that runs it.
    pub is_taken: Arc<AtomicBool>,
    /// Until it is taken.
    pub waiting: WaitingGuard<Arc<AtomicUsize>>,
    /// What the statements are logged with.
    pub span: Span,
    pub waiter: CommitWaiter,
}

/// The task that owns the connection.
pub(super) struct WriterTask {
    connect_options: SqliteConnectOptions,
    file: SqliteFile,
    limits: PoolLimits,
    commands: mpsc::UnboundedReceiver<Command>,
    /// `None` while it is leased, and until it is opened.
    connection: Option<Connection<Sqlite>>,
    group: Option<Group>,
}

/// The transactions in the open transaction of the connection.
struct Group {
    begun_at: Instant,
    /// The number of transactions that have ended, those that undid everything excluded.
    transactions: usize,
    /// Whether the savepoint of the last transaction is still there. The next one releases it.
    has_savepoint: bool,
    waiters: Vec<CommitWaiter>,
}

impl WriterTask {
    pub(super) fn new(
        connect_options: SqliteConnectOptions,
        file: SqliteFile,
        limits: PoolLimits,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            connect_options,
            file,
            limits,
            commands,
            connection: None,
            group: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let command = match self.commands.try_recv() {
                Ok(command) => Some(command),
                Err(_) => {
                    self.commit().await;
                    self.commands.recv().await
                }
            };
            match command {
                Some(Command::Lease(caller)) if caller.is_closed() => {}
                Some(Command::Lease(caller)) => self.lease(caller).await,
                Some(Command::Run(run)) => self.run_queued(*run).await,
                Some(Command::WaitForCommit(waiter)) => match &mut self.group {
                    Some(group) => group.waiters.push(waiter),
                    None => drop(waiter.send(Ok(()))),
                },
                Some(Command::Close(done)) => {
                    self.close().await;
                    let _ = done.send(());
                    return;
                }
                None => return self.close().await,
            }
        }
    }

    /// Leases the connection to a caller and waits until it is returned.
    async fn lease(&mut self, caller: oneshot::Sender<Result<WriteLease, sqlx::Error>>) {
        self.commit_full_group().await;
        let connection = match self.begin().await {
            Ok(connection) => connection,
            Err(error) => return drop(caller.send(Err(error))),
        };
        let (return_to, returned) = oneshot::channel();
        let lease = WriteLease::new(connection, return_to);
        // If the caller has gone away, dropping the lease returns the connection.
        drop(caller.send(Ok(lease)));
        match returned.await {
            Ok(returned) => self.end(returned).await,
            Err(_) => self.fail(&sqlx::Error::WorkerCrashed, None),
        }
    }

    /// Runs a whole transaction, unless its caller has given up. It needs no lease, whose way to
    /// the caller and back would take longer than its statements.
    async fn run_queued(&mut self, run: QueuedRun) {
        if run.is_taken.load(Ordering::Acquire) {
            return;
        }
        self.commit_full_group().await;
        let mut connection = match self.begin().await {
            Ok(connection) => connection,
            Err(error) => return drop(run.waiter.send(Err(error))),
        };
        // Another process may have held the lock of the file for longer than the caller waits.
        if run.is_taken.swap(true, Ordering::AcqRel) {
            let given_up = ReturnedLease {
                connection,
                commit: false,
                waiter: None,
            };
            return self.end(given_up).await;
        }
        drop(run.waiting);
        connection.set_script(run.script);
        match connection.run_queued().instrument(run.span).await {
            Ok(()) => {
                let waiter = Some(run.waiter);
                self.end(ReturnedLease {
                    connection,
                    commit: true,
                    waiter,
                })
                .await;
            }
            Err(error) => {
                self.end(ReturnedLease {
                    connection,
                    commit: false,
                    waiter: None,
                })
                .await;
                let _ = run.waiter.send(Err(error));
            }
        }
    }

    async fn commit_full_group(&mut self) {
        let is_full = |group: &Group| {
            group.waiters.len() >= MAX_GROUP_SIZE || group.begun_at.elapsed() >= MAX_GROUP_AGE
        };
        if self.group.as_ref().is_some_and(is_full) {
            self.commit().await;
        }
    }

    /// Begins the next transaction: the common one, or a savepoint in it, which is made together
    /// with the first statement of the transaction.
    async fn begin(&mut self) -> Result<Connection<Sqlite>, sqlx::Error> {
        if self.group.is_none()
            && let Err(error) = self.file.check()
        {
            // Before it opens a file that does not belong to the log.
            self.connection = None;
            return Err(error.into());
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connecting =
                    Connection::open(&self.connect_options, self.limits.statement_timeout);
                let connection = timeout(self.limits.acquire_timeout, connecting).await;
                connection.map_err(|_| sqlx::Error::PoolTimedOut)??
            }
        };
        match &self.group {
            None => {
                if let Err(error) = connection.run("begin immediate").await {
                    self.fail(&error, None);
                    return Err(error);
                }
            }
            Some(group) if group.has_savepoint => {
                connection.open_with(&["release member", "savepoint member"]);
            }
            Some(_) => connection.open_with(&["savepoint member"]),
        }
        self.group.get_or_insert_with(|| Group {
            begun_at: Instant::now(),
            transactions: 0,
            has_savepoint: false,
            waiters: Vec::new(),
        });
        Ok(connection)
    }

    /// Ends the transaction of a lease.
    async fn end(&mut self, returned: ReturnedLease) {
        let ReturnedLease {
            mut connection,
            commit,
            waiter,
        } = returned;
        connection.finish_abandoned().await;
        let is_first = (self.group.as_ref()).is_none_or(|group| group.transactions == 0);
        let has_begun = connection.discard_script();
        let mut has_lost_savepoint = false;
        let ended = match (commit, is_first) {
            _ if connection.state() == ConnectionState::Broken => {
                Err(sqlx::Error::Io(ErrorKind::BrokenPipe.into()))
            }
            (true, _) => Ok(()),
            (false, true) => connection.run("rollback").await,
            (false, false) if !has_begun => Ok(()),
            (false, false) => match connection.run("rollback to member").await {
                Ok(()) => Ok(()),
                // The trip of a caller that went away may have ended after the release and before
                // the savepoint: it wrote nothing. `begin` succeeds only if SQLite has rolled
                // back everything by itself.
                Err(error) => match connection.run("begin").await {
                    Err(_) if connection.state() == ConnectionState::Healthy => {
                        has_lost_savepoint = true;
                        Ok(())
                    }
                    _ => Err(error),
                },
            },
        };
        if let Err(error) = ended {
            return self.fail(&error, waiter);
        }
        self.connection = Some(connection);
        if !commit && is_first {
            self.group = None;
            if let Some(waiter) = waiter {
                let _ = waiter.send(Ok(()));
            }
        } else if let Some(group) = &mut self.group {
            group.transactions += 1;
            group.has_savepoint =
                !has_lost_savepoint && (group.has_savepoint || !is_first && has_begun);
            group.waiters.extend(waiter);
        }
    }

    /// Commits the group, and only then notifies its waiters.
    async fn commit(&mut self) {
        let (Some(group), Some(mut connection)) = (self.group.take(), self.connection.take())
        else {
            return;
        };
        // What a deleted file contains is lost: it must not be acknowledged.
        let committed = match connection.run("commit").await {
            Ok(()) => self.file.check().map_err(sqlx::Error::from),
            failed => failed,
        };
        if let Err(error) = committed {
            drop(connection);
            self.group = Some(group);
            return self.fail(&error, None);
        }
        self.connection = Some(connection);
        for waiter in group.waiters {
            // The transaction is committed even if its caller has gone away.
            let _ = waiter.send(Ok(()));
        }
    }

    /// Fails the whole group. The connection is not used again: dropping it rolls back.
    fn fail(&mut self, error: &sqlx::Error, waiter: Option<CommitWaiter>) {
        self.connection = None;
        let group = self.group.take();
        let waiters = group.into_iter().flat_map(|group| group.waiters);
        for waiter in waiters.chain(waiter) {
            let _ = waiter.send(Err(shared_error(error)));
        }
    }

    async fn close(&mut self) {
        self.commit().await;
        if let Some(connection) = self.connection.take() {
            let _ = timeout(self.limits.statement_timeout, connection.raw.close()).await;
        }
    }
}

/// A copy of the error of a group for one of its transactions.
fn shared_error(error: &sqlx::Error) -> sqlx::Error {
    let kind = match is_disk_full(error) {
        true => ErrorKind::StorageFull,
        false => ErrorKind::Other,
    };
    io::Error::new(kind, format!("the shared commit failed: {error}")).into()
}
