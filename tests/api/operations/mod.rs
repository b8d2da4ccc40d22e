//! The operations port: metrics, probes, and what is logged.

mod dashboards;
mod log;
mod metrics;
mod port;
mod probes;
pub mod sample;
mod traces;
