//! The middleware of every call.

mod admission;
mod call_log;
mod deadline;
mod future_wrapper;
mod method_info;
mod peer_address;
mod stack;
mod web;

pub use admission::{BudgetLimits, Budgets};
pub use future_wrapper::{FutureWrapper, Unwrapped, WrapCalls};
pub use stack::{CallBody, LayerSettings, stack};
