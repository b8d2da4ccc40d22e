//! The contract as a whole: what holds for every RPC, error and setting.

mod access;
mod calls;
mod canary;
mod described;
pub mod dump;
mod errors;
mod id_fields;
mod page_tokens;
mod peer_addresses;
mod rate_limits;
mod redaction;
mod security_page;
mod settings;
mod tenants;
mod tokens;
mod wire;
