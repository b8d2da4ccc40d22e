//! Logs, metrics, traces. Every room may use this one.

mod filter;
mod form;
mod log;
pub mod metrics;
pub mod traces;
mod writer;

pub use filter::LogFilter;
pub use log::{LogSettings, flush, init, log_filter};
