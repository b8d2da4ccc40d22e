//! Which connections publish, and which may go on.
//!
//! The registry holds what is known of each; it is filled by hooks, by looks at the
//! media server and by the answers of the control plane, and does no I/O itself.
//! SyncNode is what makes all three agree: it carries every connection, and is their
//! heartbeat.

mod begin;
mod connection_state;
mod disconnect;
mod end;
mod error_class;
mod observe;
mod poll;
mod publishers;
mod registry;
#[cfg(test)]
mod registry_tests;
mod sanitize;
mod sync;
mod sync_report;
mod takeover;

pub(super) use publishers::Publishing;
