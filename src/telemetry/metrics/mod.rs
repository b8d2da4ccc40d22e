//! Metrics for Prometheus.
//!
//! Events are counted where they happen, in counters of the whole process. States
//! (connections, watches, rows) are read when the metrics are scraped. No label has a
//! value that callers choose.

mod calls;
mod edge;
mod jobs;
mod observability;
mod process;
mod registry;
mod server;
mod webhooks;

pub use calls::{CallMetrics, call_metrics, register_calls};
pub(crate) use edge::{EDGE, HookOutcome};
pub use jobs::{JOBS, JobRun, JobTimer};
pub use observability::{LOG_LINES, TRACES};
pub use process::exposition;
pub(crate) use server::{DATABASE, NATS, SERVER, STATEMENTS, StatementKind};
pub use server::{HashRun, PASSWORDS};
pub use webhooks::WEBHOOKS;
