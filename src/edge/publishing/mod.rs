//! Which connections publish, and which may go on.
//!
//! The registry holds what is known of each; it is filled by hooks, by looks at the
//! media server and by the answers of the control plane, and does no I/O itself.
//! SyncNode is what makes all three agree: it carries every connection, and is their
//! heartbeat.

mod beginning;
mod bounded;
mod ending;
mod keeping;
mod kicking;
mod known;
mod looked;
mod publishers;
mod registry;
#[cfg(test)]
mod registry_tests;
mod reported;
mod rivals;
mod syncing;
mod verdict;

pub(super) use publishers::Publishing;
