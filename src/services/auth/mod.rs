//! AuthService: one file of RPCs per resource, and their shared parts.

mod account_rpcs;
mod accounts;
mod api_key_rpcs;
mod email_change_rpcs;
mod factor_messages;
mod mail_rpcs;
mod messages;
mod passkey_rpcs;
mod refresh_session;
mod second_factor_rpcs;
mod second_factors;
mod service;
mod session_rpcs;
mod sessions;

pub use service::{AuthDependencies, AuthService};
