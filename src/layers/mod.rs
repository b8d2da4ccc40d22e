//! The middleware of every call.

mod call_limits;
mod call_log;
mod deadline;
mod drain_body;
mod load_shed;
mod method_info;
mod peer_address;
mod stack;
mod web;

pub use load_shed::ConcurrencyLimit;
pub use stack::{CallBody, LayerSettings, stack};
pub use web::WebOrigin;
