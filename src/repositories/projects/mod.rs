//! Projects with their stream keys and destinations, and the events of their changes.

mod batched_reads;
pub(super) mod deletion;
mod destinations;
pub(super) mod events;
#[expect(
    clippy::module_inception,
    reason = "the repository of the group's own noun"
)]
mod projects;
pub(super) mod rows;
mod snapshots;
mod stream_keys;
pub(super) mod takeover;
mod transfer;

pub use destinations::{
    Destinations, SealedChange, SealedDestination, SealedTarget, StoredDestination,
};
pub use events::{EventRange, Events, ResumePoint};
pub use projects::{NewProject, Projects};
pub use stream_keys::{StreamKeyRotation, StreamKeys};
pub use takeover::NewStreamKey;
