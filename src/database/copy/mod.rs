//! Copies a database into an empty one of the other engine.

mod catalogue;
#[expect(clippy::module_inception, reason = "the statements of the copy itself")]
mod copy;
mod error;
mod locked_database;
mod value;

pub use copy::{CopiedTable, copy};
pub use error::CopyError;
