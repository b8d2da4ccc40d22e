//! Sessions of a server whose connections the client has dropped.
//!
//! The server can go on: a backend of PostgreSQL that commits waits for its synchronous standby
//! however long that is away, and notices nothing of its client. It is not cancelled, because a
//! cancelled wait makes the transaction visible although it is not yet safe on the standby.
//! Instead the permit of the connection stays taken until the server says that it is done. If
//! the server cannot be asked, it cannot be given new connections either.
//!
//! Through a pooler in transaction mode nobody knows which session ran the statement: the permit
//! is free at once, and commits that wait can hold more sessions than the pool has permits.

use std::{sync::OnceLock, time::Duration};

use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{dialect::Dialect, pool_permits::PoolPermit};
use crate::{backoff::Backoff, telemetry::Throttle};

/// The delays before the server is asked again.
const POLL_BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

/// The interval of the log lines about a server that cannot be asked.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A session that may go on, and the permit of its connection.
struct AbandonedSession<DB: Dialect> {
    session: DB::Session,
    _permit: PoolPermit,
}

/// Keeps permits until the server has let go of their sessions.
pub(super) struct AbandonedSessions<DB: Dialect> {
    connector: DB::Connector,
    /// How long the server may take to answer.
    answer_timeout: Duration,
    closed: CancellationToken,
    /// To the task that asks the server, once it is started.
    sender: OnceLock<mpsc::UnboundedSender<AbandonedSession<DB>>>,
}

impl<DB: Dialect> AbandonedSessions<DB> {
    pub fn new(connector: DB::Connector, answer_timeout: Duration) -> Self {
        Self {
            connector,
            answer_timeout,
            closed: CancellationToken::new(),
            sender: OnceLock::new(),
        }
    }

    /// Keeps the permit until the server has let go of the session.
    pub fn add(&self, session: DB::Session, permit: PoolPermit) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let sender = self.sender.get_or_init(|| {
            let (sender, added) = mpsc::unbounded_channel();
            let observer = Observer {
                connector: self.connector.clone(),
                answer_timeout: self.answer_timeout,
                sessions: Vec::new(),
                connection: None,
                failure_log: Throttle::new(FAILURE_LOG_INTERVAL),
            };
            let closed = self.closed.clone();
            runtime.spawn(async move {
                closed.run_until_cancelled(observer.run(added)).await;
            });
            sender
        });
        // Without its task, the pool is closed: the permit is free at once.
        let _ = sender.send(AbandonedSession {
            session,
            _permit: permit,
        });
    }

    /// Frees all permits.
    pub fn close(&self) {
        self.closed.cancel();
    }
}

/// The task that asks the server.
struct Observer<DB: Dialect> {
    connector: DB::Connector,
    answer_timeout: Duration,
    sessions: Vec<AbandonedSession<DB>>,
    /// Open only while there are sessions.
    connection: Option<DB::Connection>,
    failure_log: Throttle,
}

impl<DB: Dialect> Observer<DB> {
    async fn run(mut self, mut added: mpsc::UnboundedReceiver<AbandonedSession<DB>>) {
        while let Some(first) = added.recv().await {
            self.sessions.push(first);
            let mut polls = 0;
            while !self.sessions.is_empty() {
                while let Ok(next) = added.try_recv() {
                    self.sessions.push(next);
                    polls = 0;
                }
                self.poll().await;
                polls += 1;
                if polls == 1 && !self.sessions.is_empty() {
                    let count = self.sessions.len();
                    tracing::warn!(
                        count,
                        "the database still works on statements that were given up"
                    );
                }
                self.wait(polls, &mut added).await;
            }
            self.connection = None;
        }
    }

    /// Waits until the next poll, or for another session.
    async fn wait(
        &mut self,
        polls: u32,
        added: &mut mpsc::UnboundedReceiver<AbandonedSession<DB>>,
    ) {
        if self.sessions.is_empty() {
            return;
        }
        tokio::select! {
            () = sleep(POLL_BACKOFF.delay(polls)) => {}
            Some(next) = added.recv() => self.sessions.push(next),
        }
    }

    /// Frees the permits of sessions that the server has let go of.
    async fn poll(&mut self) {
        let sessions: Vec<_> = self.sessions.iter().map(|one| &one.session).collect();
        let asking = DB::are_busy(&mut self.connection, &self.connector, &sessions);
        let answer = timeout(self.answer_timeout, asking).await;
        match answer.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(busy) => {
                let mut busy = busy.into_iter();
                self.sessions.retain(|_| busy.next().unwrap_or(true));
            }
            Err(error) => {
                self.connection = None;
                if let Some(attempts) = self.failure_log.record() {
                    tracing::warn!(
                        %error,
                        attempts,
                        "cannot ask for statements that were given up"
                    );
                }
            }
        }
    }
}
