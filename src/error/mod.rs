//! What can go wrong, and the only mapping from that to a gRPC status.
//!
//! Every status carries `google.rpc.ErrorInfo` with a reason of
//! `sluice.v1.ErrorReason`, and the details that the contract promises for its
//! code. Texts never carry SQL, paths, keys or another library's words.

mod kinds;
mod status;

pub use kinds::{Error, Result};
pub use status::{DOMAIN, show_causes};
