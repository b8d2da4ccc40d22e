//! Change notifications between replicas through NATS, a message broker.
//!
//! PostgreSQL's NOTIFY tells every replica of every change. Through NATS a replica hears only of what
//! it has asked for: the projects that are watched or relayed here ([`Topic::Project`]), and the media
//! servers for which workers wait here ([`Topic::Node`]). A replica publishes the projects that it has
//! changed, and the media servers at which their relays can be claimed, after its commit.
//!
//! A message is nothing but its subject: it has no content, and says only where to look. All that
//! depends on it also polls, so that a lost message costs time and a forged one a read. Nothing waits
//! for the broker: what cannot be published at once is dropped and counted.

mod connection;
mod notifications;
mod servers;
mod topic;

pub use connection::{CredentialsRefused, NatsSettings};
pub use notifications::NatsNotifications;
pub use servers::NatsServers;
pub use topic::Topic;
