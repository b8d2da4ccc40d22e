//! The operations port: metrics, probes, and what is logged.

mod dashboards;
mod http_server;
mod log_filter;
mod metrics;
mod probes;
pub mod scrape;
mod traces;
