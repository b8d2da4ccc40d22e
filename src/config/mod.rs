//! All settings, with their variables, defaults and bounds.
//!
//! Each is a variable and a flag of the same name. A variable is set in the environment, or in the
//! file `.env` of the current folder (grammar: `env_file`). The settings of operators come from the
//! environment only, as those of `client` do: a file of the current folder must not decide which
//! server receives a credential.

mod arguments;
mod checks;
mod component_settings;
mod edge;
mod env_file;
mod observability;
mod operator;
mod organizations;
pub(crate) mod parse;
mod resolve;
mod server_address;
mod settings;
mod transport;
mod variables;
mod webhooks;

pub(crate) use arguments::{Selection, SettingGroup};
pub(crate) use checks::{DataSettings, ServerSettings};
pub use edge::{EdgeConfig, MediaServerKind};
pub use observability::{
    LogFileSettings, LogFormat, LogRotation, ObservabilitySettings, OperationsAddress,
    ResourceAttributes,
};
pub(crate) use operator::OperatorConfig;
pub use organizations::OrganizationSettings;
pub(crate) use resolve::{EffectiveSetting, Resolved, Settings};
pub(crate) use server_address::ServerAddress;
#[cfg(test)]
pub(crate) use settings::MAX_WATCH_HEARTBEAT;
pub use settings::{Config, CopyTarget, Environment};
pub use transport::TransportSettings;
pub(crate) use variables::{ENV_FILE, Variables};
pub use webhooks::WebhookSettings;
