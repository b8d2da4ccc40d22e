//! Conversions between WatchProject's messages and the domain.

use crate::{
    domain::{Change, Event, ProjectId, ProjectSnapshot},
    error::Error,
    proto::{v1 as pb, v1::watch_project_response::Event as Kind},
    services::fields::{Fields, not_negative, timestamp},
};

/// A message of a watch.
pub(super) type Message = pb::WatchProjectResponse;

pub(super) struct WatchProject {
    pub id: ProjectId,
    pub after_revision: i64,
}

impl TryFrom<pb::WatchProjectRequest> for WatchProject {
    type Error = Error;

    fn try_from(message: pb::WatchProjectRequest) -> Result<Self, Error> {
        let pb::WatchProjectRequest {
            project_id,
            after_revision,
        } = message;
        Fields::read_all(|fields| {
            let id = fields.read("project_id", ProjectId::parse(&project_id));
            let after_revision = fields.read("after_revision", not_negative(after_revision));
            Some(Self {
                id: id?,
                after_revision: after_revision?,
            })
        })
    }
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
        Self {
            revision,
            create_time: None,
            event: Some(Kind::Snapshot(snapshot)),
        }
    }
}

/// The message after the snapshot or the missed events.
pub(super) fn synced(revision: i64) -> Message {
    Message {
        revision,
        create_time: None,
        event: Some(Kind::Synced(pb::WatchSynced {})),
    }
}

/// The message that shows that the watch is alive.
pub(super) fn heartbeat(revision: i64) -> Message {
    Message {
        revision,
        create_time: None,
        event: Some(Kind::Heartbeat(pb::WatchHeartbeat {})),
    }
}

/// The message of an event.
pub(super) fn message(event: &Event) -> Message {
    let Event {
        revision,
        create_time,
        change,
    } = event;
    Message {
        revision: *revision,
        create_time: Some(timestamp(*create_time)),
        event: Some(kind(change.clone())),
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
