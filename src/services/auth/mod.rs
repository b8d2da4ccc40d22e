//! AuthService: one file of RPCs per resource, and their shared parts.

mod account_rpcs;
mod accounts;
mod api_key_rpcs;
mod mail_rpcs;
mod messages;
mod service;
mod session_rpcs;
mod sessions;
mod token_refresh;

pub use service::{AuthDependencies, AuthService};
