//! Every setting, once: its variable, its default, and what it may be.
//!
//! Each one is an environment variable and a flag of the same name. Nothing
//! else in this crate reads the environment.

mod observing;
mod parts;
mod settings;

pub use observing::{LogFormat, ObservingSettings, OperationsAddress};
pub use settings::{Config, Environment};
