//! Admission: what runs before and after the handler of every call, within budgets.
//!
//! Each call is checked and authorized by its headers, received completely, and only then handled. What a
//! peer makes the server hold meanwhile is taken from [`Budgets`], and so is its response
//! until it is written.

mod accounted_body;
mod budget;
mod budgets;
mod call_limits;
mod holder;
mod message_frames;
mod receive;
mod service;

pub use budgets::{BudgetLimits, Budgets};
pub use receive::CallBody;
pub(super) use service::{Admission, LoadShedMarker};
