//! Metrics for Prometheus.
//!
//! Events are counted where they happen, in counters of the whole process. States
//! (connections, watches, rows) are read when the metrics are scraped. No label has a
//! value that callers choose.

mod calls;
mod database;
mod exposition;
mod jobs;
mod log_lines;
mod passwords;
mod process;
mod registry;
mod server;
mod traces;

pub use calls::{CallMetrics, call_metrics};
pub use database::{DATABASE, PoolLoad};
pub use exposition::text;
pub use jobs::{JOBS, JobRun};
pub use log_lines::LOG_LINES;
pub use passwords::{HashRun, PASSWORDS};
pub use server::SERVER;
pub use traces::TRACES;
