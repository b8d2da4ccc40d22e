use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueEnum};

use super::error::ClientError;
use crate::{config::ServerAddress, domain::Secret};

/// The options of every client command. They are read from flags and the environment only: a file
/// of the current folder must not decide which server receives a credential.
#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub struct ClientOptions {
    /// The server, such as `https://sluice.example.com` or `unix:/run/sluice/sluice.sock`. By
    /// default, that of the profile, or http://127.0.0.1:50051 without one.
    #[arg(long, value_name = "URL", env = "SLUICE_SERVER", global = true)]
    server: Option<String>,
    /// The profile with the session of `sluice login`.
    #[arg(
        long,
        value_name = "NAME",
        env = "SLUICE_PROFILE",
        default_value = "default",
        global = true
    )]
    profile: String,
    /// An API key to use instead of the session of the profile. Prefer the variable: other users
    /// of this machine can read the arguments of a process.
    #[arg(
        long,
        value_name = "KEY",
        env = "SLUICE_API_KEY",
        hide_env_values = true,
        global = true
    )]
    api_key: Option<String>,
    /// A file with the certificate authorities (PEM) to trust instead of those of the platform.
    #[arg(long, value_name = "FILE", env = "SLUICE_CA_FILE", global = true)]
    ca_file: Option<OsString>,
    /// The id of the organization whose projects are listed, named and created. By default, the
    /// personal one.
    #[arg(long, value_name = "ID", env = "SLUICE_ORGANIZATION", global = true)]
    organization: Option<String>,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table, global = true)]
    output: OutputFormat,
}

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Columns for people. They may change between versions.
    Table,
    /// The response of the API as JSON, in the standard mapping of Protocol Buffers.
    Json,
}

/// An empty variable counts as not set.
impl ClientOptions {
    pub(super) fn server(&self) -> Result<Option<ServerAddress>, ClientError> {
        let server = self.server.as_deref().filter(|text| !text.is_empty());
        server.map(parse_server).transpose()
    }

    pub(super) fn profile(&self) -> &str {
        match &*self.profile {
            "" => "default",
            name => name,
        }
    }

    pub(super) fn api_key(&self) -> Option<Secret> {
        let key = self.api_key.as_deref().map(str::trim);
        key.filter(|key| !key.is_empty()).map(Secret::new)
    }

    pub(super) fn ca_file(&self) -> Option<PathBuf> {
        let file = self.ca_file.as_ref().filter(|file| !file.is_empty());
        file.map(PathBuf::from)
    }

    pub(super) fn organization(&self) -> String {
        self.organization.clone().unwrap_or_default()
    }

    pub(super) fn output(&self) -> OutputFormat {
        self.output
    }
}

/// Parses the address of a server.
pub(super) fn parse_server(text: &str) -> Result<ServerAddress, ClientError> {
    let parsed = text.parse();
    parsed.map_err(|reason| ClientError::usage(format!("--server (SLUICE_SERVER) {reason}")))
}
