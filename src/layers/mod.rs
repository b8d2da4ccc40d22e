//! What happens to every call, whichever RPC it is.

mod call_log;
mod panics;

pub use call_log::CallLogLayer;
pub use panics::answer_panic;
