//! Behaviour over the wire, on both engines. The names are the specification.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod auth;
mod contract;
mod deploying;
mod harness;
mod lifecycle;
mod project;
mod relay;
mod story;
mod stream;
