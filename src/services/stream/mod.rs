//! StreamService: one file of RPCs a kind of caller, and their messages.

mod claim_session;
mod messages;
mod node_sync;
mod owner_rpcs;
mod publish_rpcs;
mod publisher_messages;
mod refusal_messages;
mod relay_messages;
mod relay_rpcs;
mod response_sender;
mod service;
mod sync_messages;
mod watch;
mod watch_messages;
mod watch_rpcs;
mod worker_rpcs;

pub use node_sync::{NodeSync, SyncOutcome};
pub use service::{StreamParts, StreamService};
pub use watch::WatchTimes;
