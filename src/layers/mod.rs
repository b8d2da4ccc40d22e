//! What happens to every call, whichever RPC it is.

mod around;
mod call;
mod call_log;
mod deadline;
mod load_shed;
mod panics;
mod peer_address;
mod read_out;
mod refusal;
mod rpc;
mod web;

pub use around::{CallBody, LayerSettings, around};
pub use call_log::CallLogLayer;
pub use deadline::DeadlineLayer;
pub use load_shed::{CallPlaces, LoadShedLayer};
pub use panics::PanicLayer;
pub use peer_address::PeerAddressLayer;
pub use read_out::ReadOutLayer;
pub use web::WebLayer;
