//! Webhooks: what is sent, when, in which order, and where never.

mod delivery;
pub mod endpoint;
pub mod fixture;
mod idle;
mod killed_servers;
mod lifecycle;
mod receivers;
mod retries;
mod signatures;
mod targets;
mod tenancy;
mod validation;
mod verifier;
