//! The contract as a whole: what holds for every RPC, error and setting.

mod access;
mod calls;
mod errors;
mod peer_addresses;
mod rate_limits;
mod settings;
