use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::parse::{parsed, span, within};
use crate::transport::{Caps, Times, TlsFiles, WebOrigin};

/// After how much silence a peer is asked whether it is there.
const PING: Duration = Duration::from_secs(30);

/// How long it may take to say so.
const PONG: Duration = Duration::from_secs(10);

/// Whose connections are accepted, how many, and for how long.
#[derive(Debug, Clone, Args)]
pub struct ListeningSettings {
    /// How many connections there may be; never more than half of the files that the
    /// process may open.
    #[arg(long, env = "SLUICE_MAX_CONNECTIONS", default_value = "10000", value_parser = within(1..=1_000_000))]
    pub max_connections: u32,

    /// How many of them may come from one address, of IPv6 from one /64. Those of
    /// `SLUICE_TRUSTED_PROXIES` are not limited.
    #[arg(long, env = "SLUICE_MAX_ADDRESS_CONNECTIONS", default_value = "1000", value_parser = within(1..=1_000_000))]
    pub max_address_connections: u32,

    /// How long a new connection may take until it is ready for calls, TLS included.
    #[arg(long, env = "SLUICE_HANDSHAKE_TIMEOUT", default_value = "10s", value_parser = span("10ms", "5min"))]
    pub handshake_timeout: Duration,

    /// After how long a connection is to be made anew, give or take a tenth, so that
    /// load spreads over replicas; `0s` means never.
    #[arg(long, env = "SLUICE_CONNECTION_AGE", default_value = "30min", value_parser = span("0s", "1day"))]
    pub connection_age: Duration,

    /// How long calls may then take to finish before it is cut.
    #[arg(long, env = "SLUICE_CONNECTION_GRACE", default_value = "30s", value_parser = span("0s", "1h"))]
    pub connection_grace: Duration,

    /// After how long without a call a connection is closed; `0s` means never.
    #[arg(long, env = "SLUICE_CONNECTION_IDLE", default_value = "15min", value_parser = span("0s", "1day"))]
    pub connection_idle: Duration,

    /// Serves with TLS: the file of the certificate and those that it rests on (PEM).
    /// It is read again when it changes, as are the two that follow.
    #[arg(long, env = "SLUICE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// The file of its private key (PEM).
    #[arg(long, env = "SLUICE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// Only clients with a certificate from these authorities may connect: their file (PEM).
    #[arg(long, env = "SLUICE_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,

    /// The web sites whose pages may call, as gRPC-Web, parted by commas: origins such
    /// as `https://app.example.com`. Without any there is no gRPC-Web.
    #[arg(long, env = "SLUICE_WEB_ORIGINS", value_delimiter = ',', value_parser = parsed::<WebOrigin>)]
    pub web_origins: Vec<WebOrigin>,
}

impl ListeningSettings {
    /// Checks settings against each other; the sentence names the variable.
    pub(super) fn check(&self) -> Result<(), String> {
        let fault = match (&self.tls_cert, &self.tls_key, &self.tls_client_ca) {
            (Some(_), None, _) => "SLUICE_TLS_CERT must not be set without SLUICE_TLS_KEY",
            (None, Some(_), _) => "SLUICE_TLS_KEY must not be set without SLUICE_TLS_CERT",
            (None, None, Some(_)) => {
                "SLUICE_TLS_CLIENT_CA must not be set without SLUICE_TLS_CERT and SLUICE_TLS_KEY"
            }
            _ => return Ok(()),
        };
        Err(fault.to_owned())
    }

    /// How many connections there may be.
    pub fn caps(&self) -> Caps {
        Caps {
            all: self.max_connections,
            each: self.max_address_connections,
        }
    }

    /// How long a connection may take, and last.
    pub fn times(&self) -> Times {
        Times {
            handshake: self.handshake_timeout,
            age: self.connection_age,
            grace: self.connection_grace,
            idle: self.connection_idle,
            ping: PING,
            pong: PONG,
        }
    }

    /// Where the certificate is, if there is to be TLS.
    pub fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            client_ca: self.tls_client_ca.clone(),
        })
    }
}
