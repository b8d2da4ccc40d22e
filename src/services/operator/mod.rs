//! OperatorService: one file of RPCs per kind of resource, and their messages.

mod key_rpcs;
mod list_rpcs;
mod messages;
mod node_rpcs;
mod organization_rpcs;
mod quota_rpcs;
mod service;
mod user_rpcs;

pub(crate) use messages::key_message;
pub use service::OperatorService;
