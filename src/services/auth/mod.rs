//! AuthService: one file of RPCs per resource, and their shared parts.

mod account_rpcs;
mod accounts;
mod api_key_rpcs;
mod id_token_rpcs;
mod mail_rpcs;
mod messages;
mod service;
mod session_issuer;
mod session_rpcs;
mod sign_in_queue;

pub use service::{AuthDependencies, AuthService};
