//! The operations port (metrics, probes, log filter), and exported traces.

pub mod dashboards;
mod http_server;
mod log_filter;
mod metrics;
mod overload_metrics;
mod probes;
pub mod scrape;
mod traces;
