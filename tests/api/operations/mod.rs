//! The operations port: metrics, probes, and what is logged.

mod log;
mod metrics;
mod port;
mod probes;
mod sample;
