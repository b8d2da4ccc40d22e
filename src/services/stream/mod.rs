//! StreamService: the RPCs of media servers, owners and relay workers, and their messages.

mod claim_session;
mod messages;
mod node_reconciler;
mod owner_rpcs;
mod publish_rpcs;
mod relay_messages;
mod relay_rpcs;
mod response_sender;
mod service;
mod sync_messages;
mod watch;
mod watch_messages;
mod watch_progress;
mod watch_rpcs;
mod watch_turns;

pub use node_reconciler::{NodeReconciler, SyncOutcome};
pub use service::{MessageIntervals, StreamService};
pub(super) use watch_messages::change_kind;
