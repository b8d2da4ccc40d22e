//! The errors of the service, and the only mapping from them to a gRPC status.
//!
//! Every status, also of the libraries that serve health and reflection, has a `google.rpc.ErrorInfo` with a reason of `sluice.v1.ErrorReason`, and the
//! details that the contract promises for its code. Messages never contain SQL, paths, keys or
//! messages of other libraries.

mod causes;
mod kinds;
mod status;

pub use causes::with_causes;
pub use kinds::{Error, FoundInstead, PasskeyFault, Result};
pub use status::{DOMAIN, add_details, show_causes};
