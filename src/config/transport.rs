use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::parse::{duration, parsed, within};
use crate::{
    domain::WebOrigin,
    transport::{
        ConnectionLimits, ConnectionPace, ConnectionTimeouts, ListenerSettings, TlsFiles,
        TrustedProxy,
    },
};

/// The HTTP/2 keepalive interval.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long the peer may take to acknowledge a keepalive.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a frame or a header block may be incomplete. At most 16 KiB: a peer that sends
/// at all sends them within moments.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of connections: their number, lifetime and TLS.
#[derive(Debug, Clone, Args)]
pub struct TransportSettings {
    /// Maximum number of connections. The limit is never more than half of the process's open file
    /// limit. The last eighth is for trusted proxies, and for addresses where media servers and
    /// relay workers have authenticated.
    #[arg(long, env = "SLUICE_MAX_CONNECTIONS", default_value = "10000", value_parser = within(1..=1_000_000))]
    pub max_connections: u32,

    /// Maximum number of connections from one address, or from one /64 network of IPv6. Connections
    /// from `SLUICE_TRUSTED_PROXIES` are not limited.
    #[arg(long, env = "SLUICE_MAX_ADDRESS_CONNECTIONS", default_value = "1000", value_parser = within(1..=1_000_000))]
    pub max_address_connections: u32,

    /// Maximum number of connections from one address on which no call has had a valid access token.
    /// Connections from `SLUICE_TRUSTED_PROXIES`, and from addresses where media servers and relay
    /// workers have authenticated, are not limited.
    #[arg(long, env = "SLUICE_MAX_ANONYMOUS_CONNECTIONS", default_value = "128", value_parser = within(1..=1_000_000))]
    pub max_anonymous_connections: u32,

    /// The pace at which connections from one address are served, in connections per second; faster
    /// ones wait for at most 1 s for their turn, or are refused. 0 means no limit. The same connections as above are exempt.
    #[arg(long, env = "SLUICE_ADDRESS_CONNECTION_RATE", default_value = "10", value_parser = within(0..=1_000_000))]
    pub address_connection_rate: u32,

    /// The number of connections from one address that are served at once after a pause.
    #[arg(long, env = "SLUICE_ADDRESS_CONNECTION_BURST", default_value = "5", value_parser = within(1..=1_000_000))]
    pub address_connection_burst: u32,

    /// Maximum number of concurrent calls of a connection; further calls are refused with
    /// TOO_MANY_CONNECTION_CALLS. It must be larger than `SLUICE_MAX_USER_WATCHES`.
    #[arg(long, env = "SLUICE_MAX_CONNECTION_CALLS", default_value = "256", value_parser = within(2..=1_000_000))]
    pub max_connection_calls: u32,

    /// Time that a client may leave a part of a response (at most 16 KiB) unread. Then the call ends
    /// with RESPONSE_NOT_READ, and its connection is closed, unless it comes from
    /// `SLUICE_TRUSTED_PROXIES`.
    #[arg(long, env = "SLUICE_RESPONSE_READ_TIMEOUT", default_value = "10s", value_parser = duration("10ms", "10min"))]
    pub response_read_timeout: Duration,

    /// Time limit for a new connection to become ready for calls, including TLS.
    #[arg(long, env = "SLUICE_HANDSHAKE_TIMEOUT", default_value = "10s", value_parser = duration("10ms", "5min"))]
    pub handshake_timeout: Duration,

    /// Age at which a client is told to reconnect, plus or minus 10 %, so that load spreads over
    /// replicas; `0s` means never.
    #[arg(long, env = "SLUICE_CONNECTION_AGE", default_value = "30min", value_parser = duration("0s", "1day"))]
    pub connection_age: Duration,

    /// Time that calls then have to finish before the connection is closed.
    #[arg(long, env = "SLUICE_CONNECTION_GRACE", default_value = "30s", value_parser = duration("0s", "1h"))]
    pub connection_grace: Duration,

    /// Time without a call after which a connection is closed; `0s` means never.
    #[arg(long, env = "SLUICE_CONNECTION_IDLE", default_value = "15min", value_parser = duration("0s", "1day"))]
    pub connection_idle: Duration,

    /// The same for a connection on which no call has succeeded, if it is shorter. Connections from
    /// `SLUICE_TRUSTED_PROXIES` are exempt.
    #[arg(long, env = "SLUICE_UNUSED_CONNECTION_TIMEOUT", default_value = "10s", value_parser = duration("10ms", "1day"))]
    pub unused_connection_timeout: Duration,

    /// Enables TLS: the file with the certificate and its chain (PEM). This file and the two that
    /// follow are reloaded when they change.
    #[arg(long, env = "SLUICE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// The file with the private key of the certificate (PEM).
    #[arg(long, env = "SLUICE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// Enables mutual TLS: the file with the certificate authorities (PEM) of which each client
    /// needs a certificate.
    #[arg(long, env = "SLUICE_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,

    /// Web origins whose pages may call over gRPC-Web, comma-separated, such as
    /// `https://app.example.com`. gRPC-Web is off if this is not set.
    #[arg(long, env = "SLUICE_WEB_ORIGINS", value_delimiter = ',', value_parser = parsed::<WebOrigin>)]
    pub web_origins: Vec<WebOrigin>,
}

impl TransportSettings {
    /// Checks the settings against each other. The error names a variable.
    pub(super) fn check(&self) -> Option<String> {
        let error = match (&self.tls_cert, &self.tls_key, &self.tls_client_ca) {
            (Some(_), None, _) => "SLUICE_TLS_CERT must not be set without SLUICE_TLS_KEY",
            (None, Some(_), _) => "SLUICE_TLS_KEY must not be set without SLUICE_TLS_CERT",
            (None, None, Some(_)) => {
                "SLUICE_TLS_CLIENT_CA must not be set without SLUICE_TLS_CERT and SLUICE_TLS_KEY"
            }
            _ => return None,
        };
        Some(error.to_owned())
    }

    /// The settings of the listener.
    pub(super) fn listener(&self, trusted_proxies: &[TrustedProxy]) -> ListenerSettings {
        ListenerSettings {
            limits: ConnectionLimits {
                total: self.max_connections,
                per_address: self.max_address_connections,
                anonymous_per_address: self.max_anonymous_connections,
                pace: ConnectionPace {
                    per_second: self.address_connection_rate,
                    burst: self.address_connection_burst,
                },
            },
            timeouts: ConnectionTimeouts {
                handshake: self.handshake_timeout,
                max_age: self.connection_age,
                max_age_grace: self.connection_grace,
                idle: self.connection_idle,
                unused: self.unused_connection_timeout,
                keepalive_interval: KEEPALIVE_INTERVAL,
                keepalive_timeout: KEEPALIVE_TIMEOUT,
                frame: FRAME_TIMEOUT,
                response_read: self.response_read_timeout,
            },
            max_connection_calls: self.max_connection_calls,
            trusted_proxies: trusted_proxies.into(),
            tls: self.tls(),
            http1: !self.web_origins.is_empty(),
        }
    }

    /// The certificate files, if TLS is on.
    pub fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            client_ca: self.tls_client_ca.clone(),
        })
    }
}
