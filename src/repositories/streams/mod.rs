//! Streams, the publish connections that feed them, and refused publishes.

mod begin_publish;
pub(super) mod connections;
mod node_boots;
mod node_sync;
mod publishing;
mod refused_publishes;
pub(super) mod revisions;
pub(super) mod rows;
mod streams;

pub use begin_publish::NewPublish;
pub use node_sync::NodeStreams;
pub use publishing::Publishing;
pub use refused_publishes::Refusals;
pub use streams::Streams;
