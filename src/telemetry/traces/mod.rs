//! Traces of calls and their steps, for an OpenTelemetry collector.
//!
//! Disabled, they cost nothing. Enabled, a call that is not sampled costs one decision,
//! and each of its statements another.

mod statements;
mod tracer;

pub(super) use statements::statements;
pub use tracer::{CallTrace, ChildSpan, TraceSettings, begin, child_span, start, stop};
