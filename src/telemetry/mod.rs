//! Logs, metrics and traces.

mod log;
pub mod metrics;
pub mod traces;
mod writer;

pub(crate) use log::Throttle;
pub use log::{InvalidFilter, LogFilter, LogSettings, flush, init, log_filter};
