//! The RPCs. Each method goes: who, what, do, answer.
//!
//! `pb` types end here: a message becomes domain types in one conversion, which
//! finds every wrong field at once, and nothing is checked again below.

mod auth;
mod dispatch;
mod fields;
mod idempotency;
mod paging;
mod project;
mod request_origin;
mod stream;

pub use auth::{AuthParts, AuthService};
pub use dispatch::Dispatch;
pub use project::ProjectService;
pub use stream::{NodeSync, StreamParts, StreamService, SyncOutcome, WatchTimes};
