//! Behaviour over the wire, on both engines. The names are the specification.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod auth;
mod contract;
mod database;
mod deployment;
mod edge;
mod harness;
mod lifecycle;
mod listening;
mod operations;
mod project;
mod relay;
mod requests;
mod story;
mod stream;
