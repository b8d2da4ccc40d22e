//! Traces of calls and their steps, for an OpenTelemetry collector.
//!
//! Disabled, they cost nothing. Enabled, a call that is not sampled costs one decision,
//! and each of its statements another.

mod child_span;
mod counting_exporter;
mod statements;
mod traceparent;
mod tracer;

pub use child_span::{ChildSpan, child_span};
pub(super) use statements::statements;
pub use tracer::{CallTrace, TraceSettings, begin, start, stop};
