//! Streams, the publish connections that feed them, and refused publishes.

mod all_live_streams;
mod begin_publish;
mod connections;
mod end_publish;
mod heartbeat_publish;
pub(super) mod live_streams;
mod node_boots;
mod node_streams;
mod nodes;
mod overdue;
mod publish_changes;
mod publish_statements;
mod publishing;
mod refusals;
mod reported_stream;
pub(super) mod rows;
mod stream_samples;
#[expect(
    clippy::module_inception,
    reason = "the repository of the group's own noun"
)]
mod streams;
mod suspended;

pub use all_live_streams::LiveStreams;
pub use begin_publish::PublishAttempt;
pub use nodes::Nodes;
pub use publishing::Publishing;
pub use refusals::Refusals;
pub use stream_samples::StreamSamples;
pub use streams::{StreamFilter, Streams};
