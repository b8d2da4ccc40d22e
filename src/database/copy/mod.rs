//! Everything that a database holds, copied into an empty one of the other engine.

mod catalogue;
mod checksum;
mod copy;
mod failure;
mod side;
mod value;

pub use copy::{CopiedTable, copy};
pub use failure::CopyFailure;
