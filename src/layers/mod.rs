//! What happens to every call, whichever RPC it is.

mod call_log;
mod call_record;
mod deadline;
mod drain_body;
mod load_shed;
mod method_info;
mod overload_status;
mod panics;
mod peer_address;
mod stack;
mod web;

pub use call_log::CallLogLayer;
pub use deadline::DeadlineLayer;
pub use drain_body::ReadOutLayer;
pub use load_shed::{CallPlaces, LoadShedLayer};
pub use panics::PanicLayer;
pub use peer_address::PeerAddressLayer;
pub use stack::{CallBody, LayerSettings, around};
pub use web::WebLayer;
