//! Behaviour over the wire, on both engines where it depends on the database. The names are
//! the specification.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod auth;
mod client;
mod clients;
mod clocks;
mod contract;
mod database;
mod deployment;
mod edge;
mod harness;
mod high_availability;
mod kills;
mod lifecycle;
mod nats;
mod operations;
mod operator;
mod organization;
mod project;
mod readme;
mod relay;
mod requests;
mod stream;
mod transport;
mod usage;
mod webhooks;
