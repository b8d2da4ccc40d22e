use std::path::PathBuf;

use clap::Args;

use super::{
    arguments::SettingGroup,
    parse::{api_key, parsed},
    server_address::ServerAddress,
};
use crate::domain::Secret;

/// The settings of a client of OperatorService, from flags and the environment only: a file of the
/// current folder must not decide which server receives the key. They have no `Debug`, as one is
/// secret.
#[derive(Clone, Args)]
pub(crate) struct OperatorConfig {
    /// The server: `http://` without TLS, `https://` with TLS, or `unix:` and the path of a socket.
    #[arg(long, env = "SLUICE_SERVER", default_value = "http://127.0.0.1:50051", value_parser = parsed::<ServerAddress>)]
    pub server: ServerAddress,

    /// A file with certificates (PEM) to trust instead of the certificate authorities of the
    /// platform.
    #[arg(long, env = "SLUICE_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// An operator key with the scopes `operator:read` and `operator:write`.
    #[arg(long, env = "SLUICE_OPERATOR_KEY", hide_env_values = true, value_parser = api_key)]
    pub operator_key: Option<Secret>,

    /// Instead of `SLUICE_OPERATOR_KEY`: a file with the key.
    #[arg(long, env = "SLUICE_OPERATOR_KEY_FILE")]
    pub operator_key_file: Option<PathBuf>,
}

impl SettingGroup for OperatorConfig {
    const SECTIONS: &'static [(&'static str, &'static str)] = &[("server", "Server")];

    fn check_all(&self) -> Vec<String> {
        match (&self.operator_key, &self.operator_key_file) {
            (Some(_), None) | (None, Some(_)) => Vec::new(),
            (None, None) => vec![
                "SLUICE_OPERATOR_KEY must be set, or SLUICE_OPERATOR_KEY_FILE, in the environment \
                 (.env is not read): the first key is created with `sluice admin create-api-key \
                 --scope operator:read --scope operator:write`"
                    .to_owned(),
            ],
            (Some(_), Some(_)) => vec![
                "SLUICE_OPERATOR_KEY and SLUICE_OPERATOR_KEY_FILE must not both be set".to_owned(),
            ],
        }
    }
}
