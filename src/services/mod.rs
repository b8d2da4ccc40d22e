//! The RPCs. Each method authorizes the caller, parses the request, calls a repository and responds.
//!
//! `pb` types end here. One conversion turns a message into domain types and finds all invalid
//! fields. Nothing is validated again below.

mod auth;
mod enums;
mod fields;
mod operator;
mod organization;
mod paging;
mod project;
mod rpc;
mod stream;
mod usage;
mod webhook;

pub use auth::{AuthDependencies, AuthService};
pub use operator::OperatorService;
pub(crate) use operator::key_message;
pub use organization::{OrganizationDependencies, OrganizationService};
pub use project::ProjectService;
pub use stream::{MessageIntervals, NodeReconciler, StreamService, SyncOutcome};
pub use usage::UsageService;
pub use webhook::{WebhookDependencies, WebhookService, event_writer};
