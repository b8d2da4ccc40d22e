//! The middleware of every call.

mod call_log;
mod call_record;
mod deadline;
mod drain_body;
mod load_shed;
mod method_info;
mod peer_address;
mod stack;
mod web;

pub use call_log::CallLogLayer;
pub use deadline::DeadlineLayer;
pub use drain_body::DrainBodyLayer;
pub use load_shed::{ConcurrencyLimit, LoadShedLayer};
pub use peer_address::PeerAddressLayer;
pub use stack::{CallBody, LayerSettings, stack};
pub use web::WebLayer;
