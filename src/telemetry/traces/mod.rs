//! Traces: what a call did, step by step, for a collector of OpenTelemetry.
//!
//! Off, they cost nothing. On, a call that is not sampled costs a decision, and its
//! statements one each.

mod child;
mod exporter;
mod parent;
mod statements;
mod tracer;

pub use child::{Child, child};
pub(super) use statements::statements;
pub use tracer::{CallTrace, TraceSettings, begin, start, stop};
