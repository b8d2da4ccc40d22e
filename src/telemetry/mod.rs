//! Logs, metrics and traces.

mod collector;
mod log;
mod log_file;
mod log_writer;
pub mod metrics;
pub mod otlp_logs;
pub mod traces;

pub use collector::CollectorSettings;
pub use log::{InvalidFilter, LogFilter, LogSettings, flush, init, log_filter};
pub(crate) use log::{Throttle, captured};
pub use log_file::LogFile;
