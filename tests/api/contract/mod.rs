//! The contract as a whole: what holds for every RPC, error and setting.

mod access;
mod calls;
mod canary;
mod described;
mod dump;
mod errors;
mod forged_tokens;
mod forgeries;
mod id_fields;
mod mutated_tokens;
mod redaction;
mod secret_search;
mod settings;
mod tenants;
mod wire;
