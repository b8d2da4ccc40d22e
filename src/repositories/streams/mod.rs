//! Streams, the publish connections that feed them, and refused publishes.

mod begin_publish;
mod connections;
pub(super) mod live_streams;
mod node_boots;
mod node_streams;
mod overdue;
mod publishing;
mod refusals;
pub(super) mod rows;
#[expect(
    clippy::module_inception,
    reason = "the repository of the group's own noun"
)]
mod streams;

pub use begin_publish::PublishAttempt;
pub use publishing::Publishing;
pub use refusals::Refusals;
pub use streams::{StreamFilter, Streams};
