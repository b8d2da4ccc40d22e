use serde::{Deserialize, Serialize};

use super::{Destination, DestinationId, Project, Relay, Stream, Time};

/// Something that changed of a project or of what belongs to it.
#[derive(Debug, Clone)]
pub struct Event {
    /// The project's revision after the change.
    pub revision: i64,
    /// When it happened.
    pub create_time: Time,
    /// What changed.
    pub change: Change,
}

/// What changed, and how it was then. It is kept as JSON: fields that join later
/// need a default, and names stay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The project's own fields or its stream key.
    Project(Project),
    /// The project is gone.
    ProjectDeleted,
    /// A destination was created or changed.
    Destination(Destination),
    /// A destination is gone, and its relays with it.
    DestinationDeleted(DestinationId),
    /// A stream.
    Stream(Stream),
    /// A relay.
    Relay(Relay),
}

/// A project as it was at one revision, which is the project's.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The project.
    pub project: Project,
    /// Its destinations, newest first.
    pub destinations: Vec<Destination>,
    /// Its stream that has not ended.
    pub stream: Option<Stream>,
    /// The relays of that stream.
    pub relays: Vec<Relay>,
}
