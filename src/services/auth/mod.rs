//! AuthService: one file of RPCs a noun, and what they share.

mod account_rpcs;
mod accounts;
mod api_key_rpcs;
mod attempt_queue;
mod audit_rpcs;
mod id_token_rpcs;
mod mail_rpcs;
mod messages;
mod service;
mod session_rpcs;
mod sign_ins;

pub use service::{AuthParts, AuthService};
