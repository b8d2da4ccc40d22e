//! What is counted and measured, for Prometheus.
//!
//! Everything that happens is counted where it happens, in counters of the whole
//! process. What is the case (connections, watches, rows) is asked for when
//! somebody reads the metrics. No label has a value that callers choose.

mod background;
mod calls;
mod database;
mod lines;
mod live;
mod passwords;
mod process;
mod registry;
mod traces;

pub use background::{BACKGROUND, JobRun, job};
pub use calls::{CallMetrics, call_metrics};
pub use database::{DATABASE, PoolLoad};
pub use lines::LINES;
pub use live::LIVE;
pub use passwords::{HashRun, PASSWORDS};
pub use registry::text;
pub use traces::TRACES;
