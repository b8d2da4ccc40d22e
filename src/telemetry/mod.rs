//! Logs, metrics and traces.

mod json_format;
mod log;
pub mod metrics;
mod throttle;
pub mod traces;
mod writer;

pub use log::{InvalidFilter, LogFilter, LogSettings, flush, init, log_filter};
pub(crate) use throttle::Throttle;
