use std::{convert::Infallible, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::response_sender::{ResponseSender, StreamEnd};
use crate::{
    auth::CallAuthorization,
    domain::{Change, Event, ProjectId, ProjectSnapshot, Time},
    error::Error,
    proto::{v1 as pb, v1::watch_project_response::Event as Kind},
    repositories::Events,
    services::fields::{Fields, not_negative, timestamp},
    watching,
};

/// The longest interval between two checks of the caller's authorization.
const AUTHORIZATION_INTERVAL: Duration = Duration::from_secs(1);

/// How many events one query reads.
const EVENT_BATCH_SIZE: i64 = 100;

/// A message of a watch.
pub(super) type Message = pb::WatchProjectResponse;

/// How a watch begins.
#[derive(Debug)]
pub(super) enum WatchStart {
    /// With a snapshot of the project.
    Snapshot(Box<Message>),
    /// With the events after one revision, up to another.
    After { after_revision: i64, revision: i64 },
}

/// One WatchProject call: sends the events of a project in order.
#[derive(Debug)]
pub(super) struct WatchSession {
    pub project: watching::ProjectWatch,
    pub events: Events,
    pub authorization: CallAuthorization,
    /// The longest interval between two messages.
    pub heartbeat_interval: Duration,
    pub closing: CancellationToken,
    pub sender: ResponseSender<Message>,
}

/// The progress of a watch.
#[derive(Debug)]
struct Position {
    /// The revision sent last.
    revision: i64,
    /// When the last message was sent.
    time: Instant,
}

impl WatchSession {
    /// Sends events until the caller closes the stream or an error ends it.
    pub async fn run(mut self, start: WatchStart) {
        let mut position = Position {
            revision: match &start {
                WatchStart::Snapshot(snapshot) => snapshot.revision,
                WatchStart::After { after_revision, .. } => *after_revision,
            },
            time: Instant::now(),
        };
        let Err(end) = self.watch(start, &mut position).await;
        if let StreamEnd::Error(cause) = end {
            self.sender.end(Error::WatchEnded {
                cause: Box::new(cause),
                last_revision: position.revision,
            });
        }
    }

    async fn watch(
        &mut self,
        start: WatchStart,
        position: &mut Position,
    ) -> Result<Infallible, StreamEnd> {
        let present = match start {
            WatchStart::Snapshot(snapshot) => {
                let revision = snapshot.revision;
                self.send(snapshot, position).await?;
                revision
            }
            WatchStart::After { revision, .. } => revision,
        };
        self.project.begin_at(present);
        while position.revision < present {
            self.send_events(position, present).await?;
        }
        let synced = Kind::Synced(pb::WatchSynced {});
        let synced = Box::new(message(position.revision, None, synced));
        self.send(synced, position).await?;

        loop {
            let head = self.project.head();
            if position.revision < head.revision {
                self.send_events(position, head.revision).await?;
            } else if head.gone {
                self.authorization.check()?;
                return Err(self.not_found().into());
            } else {
                self.wait(position).await?;
            }
        }
    }

    /// Sends the next events, up to the revision `until`.
    async fn send_events(&mut self, position: &mut Position, until: i64) -> Result<(), StreamEnd> {
        if let Some(events) = self.project.after(position.revision) {
            for event in events.iter().take_while(|event| event.revision <= until) {
                self.send_event(event, position).await?;
            }
            return Ok(());
        }
        let limit = EVENT_BATCH_SIZE.min(until - position.revision);
        let id = self.project.project_id();
        let events = self.events.after(id, position.revision, limit).await?;
        if events.is_empty() {
            // They have been deleted in the meantime.
            return Err(Error::ResyncRequired.into());
        }
        for event in &events {
            self.send_event(event, position).await?;
        }
        Ok(())
    }

    async fn send_event(
        &mut self,
        event: &Event,
        position: &mut Position,
    ) -> Result<(), StreamEnd> {
        if event.revision != position.revision + 1 {
            return Err(Error::ResyncRequired.into());
        }
        self.authorization.check()?;
        let change = kind(event.change.clone());
        let changed = Box::new(message(event.revision, Some(event.create_time), change));
        self.send(changed, position).await?;
        match event.change {
            Change::ProjectDeleted => Err(self.not_found().into()),
            _ => Ok(()),
        }
    }

    /// Waits for events, and sends a heartbeat if one is due.
    async fn wait(&mut self, position: &mut Position) -> Result<(), StreamEnd> {
        let heartbeat_time = position.time + self.heartbeat_interval;
        tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(Error::Draining.into()),
            () = self.sender.closed() => return Err(StreamEnd::Closed),
            () = self.project.changed() => {}
            () = sleep_until(heartbeat_time.min(Instant::now() + AUTHORIZATION_INTERVAL)) => {}
        }
        self.authorization.check()?;
        if heartbeat_time <= Instant::now() {
            let heartbeat = Kind::Heartbeat(pb::WatchHeartbeat {});
            let heartbeat = Box::new(message(position.revision, None, heartbeat));
            self.send(heartbeat, position).await?;
        }
        Ok(())
    }

    /// Sends a message as soon as there is room, while the caller remains authorized.
    async fn send(&self, message: Box<Message>, position: &mut Position) -> Result<(), StreamEnd> {
        let revision = message.revision;
        let mut sent = std::pin::pin!(self.sender.send(message));
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return Err(Error::Draining.into()),
                sent = &mut sent => {
                    sent?;
                    break;
                }
                () = sleep(AUTHORIZATION_INTERVAL) => self.authorization.check()?,
            }
        }
        *position = Position {
            revision,
            time: Instant::now(),
        };
        Ok(())
    }

    fn not_found(&self) -> Error {
        Error::not_found("project", self.project.project_id())
    }
}

/// Reads the project, and the revision after which the watch begins.
pub(super) fn read_watch_project(
    message: pb::WatchProjectRequest,
) -> Result<(ProjectId, i64), Error> {
    let pb::WatchProjectRequest {
        project_id,
        after_revision,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("project_id", ProjectId::parse(&project_id));
        let after_revision = fields.read("after_revision", not_negative(after_revision));
        id.zip(after_revision)
    })
}

impl From<ProjectSnapshot> for Message {
    fn from(snapshot: ProjectSnapshot) -> Self {
        let ProjectSnapshot {
            project,
            destinations,
            stream,
            relays,
        } = snapshot;
        let revision = project.revision;
        let snapshot = pb::ProjectSnapshot {
            project: Some(project.into()),
            destinations: destinations.into_iter().map(Into::into).collect(),
            stream: stream.map(Into::into),
            relays: relays.into_iter().map(pb::Relay::from).collect(),
        };
        message(revision, None, Kind::Snapshot(snapshot))
    }
}

fn message(revision: i64, create_time: Option<Time>, event: Kind) -> Message {
    Message {
        revision,
        create_time: create_time.map(timestamp),
        event: Some(event),
    }
}

fn kind(change: Change) -> Kind {
    match change {
        Change::Project(project) => Kind::ProjectUpdated(project.into()),
        Change::ProjectDeleted => Kind::ProjectDeleted(pb::ProjectDeleted {}),
        Change::Destination(destination) => Kind::DestinationChanged(pb::DestinationChanged {
            destination_id: destination.id.to_string(),
            destination: Some(destination.into()),
        }),
        Change::DestinationDeleted(id) => Kind::DestinationChanged(pb::DestinationChanged {
            destination_id: id.to_string(),
            destination: None,
        }),
        Change::Stream(stream) => Kind::StreamChanged(stream.into()),
        Change::Relay(relay) => Kind::RelayChanged(relay.into()),
    }
}
