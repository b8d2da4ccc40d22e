//! Who watches which projects, and what wakes them.
//!
//! Watchers of one project share a feed: the revision that is known of it, and
//! its newest events. One task a replica, the lookout, fills all feeds. It looks at
//! what it is told has changed, by this process ([`Hints`](crate::database::Hints))
//! or by others (the listener), and from time to time at all that is watched, so
//! that a hint which was lost costs time and nothing else. While nobody watches,
//! it asks the database nothing.

mod feed;
mod hub;
mod listener;
mod notifier;
mod poller;

pub use feed::Head;
pub use hub::{Hub, Watch, WatchLimits};
pub use listener::Listener;
pub use notifier::Notifier;
pub use poller::Lookout;
