//! Relays, as owners and workers see them.

mod addresses;
mod attempts;
mod claiming;
mod crowds;
mod follow;
mod invalid;
mod leases;
mod owners;
mod random_lives;
mod reports;
mod revocations;
pub mod scene;
mod stalls;
mod statements;
mod tenancy;
mod worker;
