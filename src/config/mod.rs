//! Every setting, once: its variable, its default, and what it may be.
//!
//! Each one is an environment variable and a flag of the same name. Nothing
//! else in this crate reads the environment.

mod edge;
mod listening;
mod observing;
pub(crate) mod parse;
mod parts;
mod requests;
mod settings;

pub use edge::{EdgeConfig, MediaServerKind};
pub use listening::ListeningSettings;
pub use observing::{LogFormat, ObservingSettings, OperationsAddress};
pub use requests::RequestSettings;
pub use settings::{Config, Environment};
