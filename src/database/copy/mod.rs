//! Copies a database into an empty one of the other engine.

mod catalogue;
mod checksum;
mod copy;
mod error;
mod locked_database;
mod value;

pub use copy::{CopiedTable, copy};
pub use error::CopyError;
