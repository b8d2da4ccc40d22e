//! All settings, with their variables, defaults and bounds.
//!
//! Each is an environment variable and a flag of the same name. Nothing else in this crate reads the
//! environment.

mod component_settings;
mod edge;
mod observability;
pub(crate) mod parse;
mod settings;
mod transport;

pub use edge::{EdgeConfig, MediaServerKind};
pub use observability::{
    LogFileSettings, LogFormat, LogRotation, ObservabilitySettings, OperationsAddress,
    ResourceAttributes,
};
pub use settings::{Config, Environment};
pub use transport::TransportSettings;
