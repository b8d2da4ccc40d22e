//! All settings, with their variables, defaults and bounds.
//!
//! Each is a variable and a flag of the same name. A variable is set in the environment, or in the
//! file `.env` of the current folder (grammar: `env_file`). Only `client` also
//! reads the environment, for commands that call a server.

mod arguments;
mod checks;
mod component_settings;
mod edge;
mod env_file;
mod observability;
mod operator;
pub(crate) mod parse;
mod resolve;
mod settings;
mod transport;
mod variables;

pub(crate) use arguments::{Selection, SettingGroup};
pub(crate) use checks::{DataSettings, ServerSettings};
pub use edge::{EdgeConfig, MediaServerKind};
pub use observability::{
    LogFileSettings, LogFormat, LogRotation, ObservabilitySettings, OperationsAddress,
    ResourceAttributes,
};
pub(crate) use operator::OperatorConfig;
pub(crate) use resolve::{EffectiveSetting, Resolved, Settings};
pub use settings::{Config, CopyTarget, Environment};
pub use transport::TransportSettings;
pub(crate) use variables::{ENV_FILE, Variables};
