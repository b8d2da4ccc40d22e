//! StreamService: one file of RPCs a kind of caller, and their messages.

mod messages;
mod outlet;
mod owner_rpcs;
mod publish_rpcs;
mod publisher_messages;
mod service;
mod watch;
mod watch_messages;
mod watch_rpcs;

pub use service::{StreamParts, StreamService};
pub use watch::WatchTimes;
