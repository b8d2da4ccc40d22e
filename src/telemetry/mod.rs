//! Logs, metrics and traces.

mod filter;
mod json_format;
mod log;
pub mod metrics;
mod throttle;
pub mod traces;
mod writer;

pub use filter::LogFilter;
pub use log::{LogSettings, flush, init, log_filter};
pub(crate) use throttle::Throttle;
