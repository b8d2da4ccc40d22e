//! Logs, metrics and traces.

mod log;
mod log_writer;
pub mod metrics;
pub mod traces;

pub(crate) use log::Throttle;
pub use log::{InvalidFilter, LogFilter, LogSettings, flush, init, log_filter};
