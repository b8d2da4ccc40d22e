//! What happens to every call, whichever RPC it is.

mod around;
mod call_log;
mod panics;
mod peer_address;
mod read_out;
mod web;

pub use around::{CallBody, LayerSettings, around};
pub use call_log::CallLogLayer;
pub use panics::PanicLayer;
pub use peer_address::PeerAddressLayer;
pub use read_out::ReadOutLayer;
pub use web::WebLayer;
