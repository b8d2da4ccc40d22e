//! The state of all publishing connections, also while the control plane is unreachable.
//!
//! [`registry::Registry`] holds the state and does no I/O. Hooks, snapshots of the media
//! server and answers of the control plane update it. SyncNode reconciles all three: it
//! reports every connection, and is their heartbeat.

mod begin;
mod health;
mod observe;
mod publishers;
mod registry;
#[cfg(test)]
mod registry_property_tests;
#[cfg(test)]
mod registry_tests;
mod sanitize;
mod server_polls;
#[cfg(test)]
mod simulation;
mod sync;
mod sync_report;
mod takeover;
mod tracked_connection;

pub(super) use health::EdgeHealth;
pub(super) use publishers::Publishers;
