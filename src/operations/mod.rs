//! The operations port: metrics, probes and the log filter over HTTP.
//!
//! It answers before the database does and during the drain, and closes last. It does not
//! authenticate callers: it listens on the loopback address unless configured otherwise.

mod http_server;
mod metrics_collector;

pub use http_server::{Monitored, OperationsServer};
pub use metrics_collector::MetricsCollector;
