//! The task that keeps SQLite's connection that writes.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, Error as Failure, Sqlite, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{
    connection::{Line, LineState},
    errors::is_full,
    pool::PoolLimits,
    writer::Turn,
};

/// How many transactions share a commit at most, and how long the first waits for others.
///
/// A sync takes about 3 ms: with 10 ms of work before it, three quarters of the time
/// go to work, and nobody waits noticeably longer.
const GROUP: (usize, Duration) = (64, Duration::from_millis(10));

/// What the keeper is asked for.
pub(super) enum Wish {
    /// A turn on the connection.
    Turn(oneshot::Sender<Result<Turn, Failure>>),
    /// To be told of the commit of what is open.
    Settle(Member),
    /// To close it.
    Close(oneshot::Sender<()>),
}

/// The connection as a turn gives it back.
pub(super) struct Returned {
    pub line: Line<Sqlite>,
    pub kept: bool,
    /// Who waits for the commit.
    pub caller: Option<Member>,
}

/// Who waits for the commit.
pub(super) type Member = oneshot::Sender<Result<(), Failure>>;

/// The task that keeps the connection.
pub(super) struct Keeper {
    address: SqliteConnectOptions,
    limits: PoolLimits,
    wishes: mpsc::UnboundedReceiver<Wish>,
    line: Option<Line<Sqlite>>,
    group: Option<Group>,
}

/// An open transaction, and who waits for its commit.
struct Group {
    begun: Instant,
    /// How many have had their turn in it, and not taken everything back.
    turns: usize,
    members: Vec<Member>,
}

impl Keeper {
    pub(super) fn new(
        address: SqliteConnectOptions,
        limits: PoolLimits,
        wishes: mpsc::UnboundedReceiver<Wish>,
    ) -> Self {
        Self {
            address,
            limits,
            wishes,
            line: None,
            group: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let wish = match self.wishes.try_recv() {
                Ok(wish) => Some(wish),
                Err(_) => {
                    self.commit().await;
                    self.wishes.recv().await
                }
            };
            match wish {
                Some(Wish::Turn(caller)) if caller.is_closed() => {}
                Some(Wish::Turn(caller)) => self.serve(caller).await,
                Some(Wish::Settle(caller)) => match &mut self.group {
                    Some(group) => group.members.push(caller),
                    None => drop(caller.send(Ok(()))),
                },
                Some(Wish::Close(done)) => {
                    self.close().await;
                    let _ = done.send(());
                    return;
                }
                None => return self.close().await,
            }
        }
    }

    /// Lends the connection to a caller, and waits until it is back.
    async fn serve(&mut self, caller: oneshot::Sender<Result<Turn, Failure>>) {
        let full =
            |group: &Group| group.members.len() >= GROUP.0 || group.begun.elapsed() >= GROUP.1;
        if self.group.as_ref().is_some_and(full) {
            self.commit().await;
        }
        let line = match self.begin().await {
            Ok(line) => line,
            Err(failure) => return drop(caller.send(Err(failure))),
        };
        let (back, returned) = oneshot::channel();
        let turn = Turn::new(line, back);
        // One that nobody takes comes back when it is dropped.
        drop(caller.send(Ok(turn)));
        match returned.await {
            Ok(returned) => self.end(returned).await,
            Err(_) => self.lose(&Failure::WorkerCrashed, None),
        }
    }

    /// Begins the next one's transaction: the group's, or a savepoint in it.
    async fn begin(&mut self) -> Result<Line<Sqlite>, Failure> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => {
                let raw = timeout(self.limits.acquire, self.address.connect()).await;
                let raw = raw.map_err(|_| Failure::PoolTimedOut)??;
                Line::new(raw, self.limits.statement)
            }
        };
        let begun = match self.group {
            None => line.run("begin immediate").await,
            Some(_) => line.run("savepoint member").await,
        };
        if let Err(failure) = begun {
            self.lose(&failure, None);
            return Err(failure);
        }
        self.group.get_or_insert_with(|| Group {
            begun: Instant::now(),
            turns: 0,
            members: Vec::new(),
        });
        Ok(line)
    }

    /// Ends what a turn has begun.
    async fn end(&mut self, returned: Returned) {
        let Returned {
            mut line,
            kept,
            caller,
        } = returned;
        let first = self.group.as_ref().is_none_or(|group| group.turns == 0);
        let ended = match (kept, first) {
            _ if line.state() == LineState::Broken => {
                Err(Failure::Io(ErrorKind::BrokenPipe.into()))
            }
            (true, true) => Ok(()),
            (true, false) => line.run("release member").await,
            (false, true) => line.run("rollback").await,
            (false, false) => match line.run("rollback to member").await {
                Ok(()) => line.run("release member").await,
                // SQLite has rolled back everything by itself.
                failed => failed,
            },
        };
        if let Err(failure) = ended {
            return self.lose(&failure, caller);
        }
        self.line = Some(line);
        if !kept && first {
            self.group = None;
            if let Some(caller) = caller {
                let _ = caller.send(Ok(()));
            }
        } else if let Some(group) = &mut self.group {
            group.turns += 1;
            group.members.extend(caller);
        }
    }

    /// Commits what has gathered, and only then tells so.
    async fn commit(&mut self) {
        let (Some(group), Some(mut line)) = (self.group.take(), self.line.take()) else {
            return;
        };
        if let Err(failure) = line.run("commit").await {
            drop(line);
            self.group = Some(group);
            return self.lose(&failure, None);
        }
        self.line = Some(line);
        for member in group.members {
            // Whoever does not wait any more is in it all the same.
            let _ = member.send(Ok(()));
        }
    }

    /// Tells everybody in the group that it has failed. The connection is not used again:
    /// what is open on it is rolled back when it is dropped.
    fn lose(&mut self, failure: &Failure, caller: Option<Member>) {
        self.line = None;
        let group = self.group.take();
        let members = group.into_iter().flat_map(|group| group.members);
        for member in members.chain(caller) {
            let _ = member.send(Err(likewise(failure)));
        }
    }

    async fn close(&mut self) {
        self.commit().await;
        if let Some(line) = self.line.take() {
            let _ = timeout(self.limits.statement, line.raw.close()).await;
        }
    }
}

/// What a failure that many have in common is for each of them.
fn likewise(failure: &Failure) -> Failure {
    let kind = match is_full(failure) {
        true => ErrorKind::StorageFull,
        false => ErrorKind::Other,
    };
    io::Error::new(kind, format!("the shared commit failed: {failure}")).into()
}
