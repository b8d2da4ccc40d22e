//! Connections, good and bad.

mod accepting;
mod attacks;
mod bystander;
mod caps;
mod draining;
mod frames;
mod lifetimes;
mod malformed;
mod raw;
mod refused_calls;
mod tls;
mod tls_clients;
mod web;
