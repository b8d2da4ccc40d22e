//! StreamService: one file of RPCs a kind of caller, and their messages.

mod claiming;
mod messages;
mod outlet;
mod owner_rpcs;
mod publish_rpcs;
mod publisher_messages;
mod relay_messages;
mod relay_rpcs;
mod service;
mod worker_rpcs;

pub use service::{StreamParts, StreamService};
