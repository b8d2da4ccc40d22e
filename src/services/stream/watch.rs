use std::{convert::Infallible, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    response_sender::{Outlet, Unsent},
    watch_messages::{Message, heartbeat, message, synced},
};
use crate::{
    auth::Permit,
    domain::{Change, Event},
    error::Error,
    repositories::Events,
    watching,
};

/// How often at least a watch asks whether it may go on.
const CHECKED: Duration = Duration::from_secs(1);

/// How many events are read from the database at once.
const PAGE: i64 = 100;

/// How long a watch waits.
#[derive(Debug, Clone, Copy)]
pub struct WatchTimes {
    /// In silence, until it gives a sign of life.
    pub heartbeat: Duration,
    /// For a watcher that does not read.
    pub patience: Duration,
}

/// What a watch sends first.
#[derive(Debug)]
pub(super) enum Start {
    /// The project as it is.
    Snapshot(Box<Message>),
    /// What has happened after a revision, until another one.
    After { after_revision: i64, revision: i64 },
}

/// A watch of a project: sends what happens, in order, until something ends it.
#[derive(Debug)]
pub(super) struct Watch {
    pub project: watching::Watch,
    pub events: Events,
    pub permit: Permit,
    pub times: WatchTimes,
    pub closing: CancellationToken,
    pub outlet: Outlet<Message>,
}

/// Where a watch is.
#[derive(Debug)]
struct Position {
    /// The revision that was last sent.
    revision: i64,
    /// When something was last sent.
    time: Instant,
}

/// Why a watch ended.
#[derive(Debug)]
enum Ending {
    /// The watcher has gone.
    Gone,
    /// What it is told.
    Error(Error),
}

impl Watch {
    /// Sends until something ends it.
    pub async fn run(mut self, start: Start) {
        let mut position = Position {
            revision: match &start {
                Start::Snapshot(snapshot) => snapshot.revision,
                Start::After { after_revision, .. } => *after_revision,
            },
            time: Instant::now(),
        };
        let Err(ending) = self.watch(start, &mut position).await;
        if let Ending::Error(cause) = ending {
            self.outlet.end(Error::WatchEnded {
                cause: Box::new(cause),
                last_revision: position.revision,
            });
        }
    }

    async fn watch(&mut self, start: Start, at: &mut Position) -> Result<Infallible, Ending> {
        let present = match start {
            Start::Snapshot(snapshot) => {
                let revision = snapshot.revision;
                self.send(snapshot, at).await?;
                revision
            }
            Start::After { revision, .. } => revision,
        };
        self.project.begin_at(present);
        while at.revision < present {
            self.send_news(at, present).await?;
        }
        self.send(Box::new(synced(at.revision)), at).await?;

        loop {
            let head = self.project.head();
            if at.revision < head.revision {
                self.send_news(at, head.revision).await?;
            } else if head.gone {
                self.permit.check()?;
                return Err(Ending::Error(self.not_found()));
            } else {
                self.rest(at).await?;
            }
        }
    }

    /// Sends events after those that were sent, none of them above `until`.
    async fn send_news(&mut self, at: &mut Position, until: i64) -> Result<(), Ending> {
        if let Some(events) = self.project.after(at.revision) {
            for event in events.iter().take_while(|event| event.revision <= until) {
                self.send_event(event, at).await?;
            }
            return Ok(());
        }
        let limit = PAGE.min(until - at.revision);
        let id = self.project.project_id();
        let events = self.events.after(id, at.revision, limit).await?;
        if events.is_empty() {
            // They were pruned meanwhile.
            return Err(Ending::Error(Error::ResyncRequired));
        }
        for event in &events {
            self.send_event(event, at).await?;
        }
        Ok(())
    }

    async fn send_event(&mut self, event: &Event, at: &mut Position) -> Result<(), Ending> {
        if event.revision != at.revision + 1 {
            return Err(Ending::Error(Error::ResyncRequired));
        }
        self.permit.check()?;
        self.send(Box::new(message(event)), at).await?;
        match event.change {
            Change::ProjectDeleted => Err(Ending::Error(self.not_found())),
            _ => Ok(()),
        }
    }

    /// Waits until there may be something to do, and gives a sign of life if there is not.
    async fn rest(&mut self, at: &mut Position) -> Result<(), Ending> {
        let heartbeat_time = at.time + self.times.heartbeat;
        tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(Ending::Error(Error::Draining)),
            () = self.outlet.closed() => return Err(Ending::Gone),
            () = self.project.changed() => {}
            () = sleep_until(heartbeat_time.min(Instant::now() + CHECKED)) => {}
        }
        self.permit.check()?;
        if heartbeat_time <= Instant::now() {
            self.send(Box::new(heartbeat(at.revision)), at).await?;
        }
        Ok(())
    }

    /// Sends a message as soon as there is room; a watch that may not go on does not wait for it.
    async fn send(&self, message: Box<Message>, at: &mut Position) -> Result<(), Ending> {
        let revision = message.revision;
        let mut sent = std::pin::pin!(self.outlet.send(message, self.times.patience));
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return Err(Ending::Error(Error::Draining)),
                sent = &mut sent => {
                    sent?;
                    break;
                }
                () = sleep(CHECKED) => self.permit.check()?,
            }
        }
        *at = Position {
            revision,
            time: Instant::now(),
        };
        Ok(())
    }

    fn not_found(&self) -> Error {
        Error::NotFound {
            noun: "project",
            id: self.project.project_id().to_string(),
        }
    }
}

impl From<Error> for Ending {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Unsent> for Ending {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Gone => Self::Gone,
            Unsent::Slow => Self::Error(Error::WatchTooSlow),
        }
    }
}
