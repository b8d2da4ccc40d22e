//! What happens to every call, whichever RPC it is.

mod call;
mod call_log;
mod panics;
mod peer_address;

pub use call_log::CallLogLayer;
pub use panics::answer_panic;
pub use peer_address::PeerAddressLayer;
