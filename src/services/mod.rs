//! The RPCs. Each method goes: who, what, do, answer.
//!
//! `pb` types end here: a message becomes domain types in one conversion, which
//! finds every wrong field at once, and nothing is checked again below.

mod auth;
mod destination_messages;
mod dispatch;
mod fields;
mod once;
mod origin;
mod paging;
mod platform_messages;
mod project;
mod project_messages;
mod stream;

pub use auth::{AuthParts, AuthService};
pub use dispatch::Dispatch;
pub use project::ProjectService;
pub use stream::{NodeSync, StreamParts, StreamService, SyncOutcome, WatchTimes};
