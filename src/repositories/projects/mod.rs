//! Projects with their stream keys and destinations, and the events of their changes.

mod batched_reads;
mod destinations;
pub(super) mod events;
mod projects;
pub(super) mod revisions;
pub(super) mod rows;
mod snapshots;
mod stream_keys;

pub use destinations::{Destinations, SealedDestination};
pub use events::Events;
pub use projects::{NewProject, Projects};
pub use snapshots::Snapshots;
pub use stream_keys::StreamKeys;
