//! Watches of projects, and the change notifications that wake them.
//!
//! All watches of a project share a feed: its newest known revision and its newest events.
//! One task of each replica, the event poller, fills all feeds. It polls the projects that
//! change notifications name, of this process (`ChangeNotifications`) or of other replicas
//! ([`ReplicaListener`], and `nats`). At an interval it polls all watched projects, so that a lost
//! notification only causes a delay. Without watches it sends no query.
//!
//! A watch may have many projects. A changed feed puts its project into the set of changed
//! projects of each watch and wakes it: one set for a watch, whatever the number of its projects.
//! Four more tasks of each replica find what has no revision, each with few statements for all
//! watches, and with none if no watch wants it: refused publishes ([`RefusalPoller`]), statistics
//! ([`StatsPoller`]), projects that are created while all projects of an organization are watched
//! ([`ProjectDiscovery`]), and memberships that have ended ([`MembershipPoller`]).

mod event_poller;
mod feed;
mod hub;
mod look_back;
mod membership_poller;
mod polling;
mod project_discovery;
mod refusal_poller;
mod replica_notifications;
mod stats_poller;
mod wake;
mod watch;

pub use event_poller::EventPoller;
pub(crate) use event_poller::{CollectedChanges, collect_all_changes, collect_changes};
pub use feed::{ProjectHead, WatchOptions};
pub use hub::{WatchHub, WatchLimits};
pub use membership_poller::MembershipPoller;
pub use project_discovery::ProjectDiscovery;
pub use refusal_poller::RefusalPoller;
pub use replica_notifications::{ReplicaListener, ReplicaNotifier};
pub use stats_poller::StatsPoller;
pub use watch::{Watch, WatchChanges};
