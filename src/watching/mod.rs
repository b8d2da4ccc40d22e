//! Watches of projects, and the change notifications that wake them.
//!
//! All watches of a project share a feed: its newest known revision and its newest events.
//! One task of each replica, the event poller, fills all feeds. It polls the projects that
//! change notifications name, of this process
//! (`ChangeNotifications`) or of other replicas ([`ReplicaListener`]). At an interval it polls all watched projects, so that a lost
//! notification only causes a delay. Without watches it sends no query.

mod event_poller;
mod feed;
mod hub;
mod replica_notifications;

pub use event_poller::EventPoller;
pub use feed::ProjectHead;
pub use hub::{ProjectWatch, WatchHub, WatchLimits};
pub use replica_notifications::{ReplicaListener, ReplicaNotifier};
