//! The contract as a whole: what holds for every RPC, error and setting.

mod access;
mod calls;
mod described;
mod dump;
mod errors;
mod forged_tokens;
mod forgeries;
mod id_fields;
mod mutated_tokens;
mod peer_addresses;
mod rate_limits;
mod redaction;
mod settings;
mod tenants;
mod wire;
