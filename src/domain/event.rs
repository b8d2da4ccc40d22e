use serde::{Deserialize, Serialize};

use super::{Destination, DestinationId, Project, Relay, Stream, Time};

/// A change of a project, or of its destinations, streams or relays.
#[derive(Debug, Clone)]
pub struct Event {
    /// The project's revision after the change.
    pub revision: i64,
    /// When it happened.
    pub create_time: Time,
    /// What changed.
    pub change: Change,
}

/// What changed, and its state after the change.
///
/// The database stores it as JSON: new fields need a default, and names must not change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The project's own fields or its stream key.
    Project(Project),
    /// The project was deleted.
    ProjectDeleted,
    /// A destination was created or changed.
    Destination(Destination),
    /// A destination was deleted, with its relays.
    DestinationDeleted(DestinationId),
    /// A stream was created or changed.
    Stream(Stream),
    /// A relay was created or changed.
    Relay(Relay),
}

/// A project with everything that belongs to it, at the project's revision.
#[derive(Debug, Clone)]
pub struct ProjectSnapshot {
    /// The project.
    pub project: Project,
    /// Its destinations, newest first.
    pub destinations: Vec<Destination>,
    /// Its stream that has not ended, with its relays, if there is one.
    pub live: Option<LiveStream>,
}

/// A stream that has not ended, and its relays.
#[derive(Debug, Clone)]
pub struct LiveStream {
    /// The stream.
    pub stream: Stream,
    /// Its relays, in the order in which their destinations were created.
    pub relays: Vec<Relay>,
}
