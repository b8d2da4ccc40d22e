//! What happens to every call, whichever RPC it is.

mod call_log;
mod deadline;
mod load_shed;
mod panics;
mod peer_address;
mod rpc;

pub use call_log::CallLogLayer;
pub use deadline::DeadlineLayer;
pub use load_shed::{CallPlaces, LoadShedLayer};
pub use panics::answer_panic;
pub use peer_address::PeerAddressLayer;
