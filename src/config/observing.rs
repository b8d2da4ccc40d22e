use std::{
    io::{self, IsTerminal},
    net::SocketAddr,
    time::Duration,
};

use clap::{Args, ValueEnum};
use http::Uri;

use super::parse::{collector, log_filter, operations_address, ratio, span};

/// What is to be seen of a server, and where.
#[derive(Clone, Args)]
pub struct ObservingSettings {
    /// The address of the operations port: HTTP with `/metrics`, `/livez`, `/readyz`
    /// and `/log`, for who runs the server and nobody else; `off` turns it off.
    #[arg(long, env = "SLUICE_OPERATIONS_LISTEN", default_value = "127.0.0.1:9464", value_parser = operations_address)]
    pub operations_listen: OperationsAddress,

    /// What is logged, for example `info` or `sluice=debug,sqlx=debug`. Calls that go
    /// well are logged at `debug` with the target `sluice::calls`. Default: `info`, in
    /// development also `sluice::calls=debug`.
    #[arg(long, env = "SLUICE_LOG", value_parser = log_filter)]
    pub log: Option<String>,

    /// How it is logged: `auto` is human on a terminal and JSON otherwise.
    #[arg(long, env = "SLUICE_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,

    /// From which duration a call that went well is logged as slow, at `info`.
    #[arg(long, env = "SLUICE_SLOW_CALL", default_value = "1s", value_parser = span("1ms", "1h"))]
    pub slow_call: Duration,

    /// Sends traces to a collector of OpenTelemetry (OTLP over gRPC, without TLS: one
    /// beside this server), for example `http://127.0.0.1:4317`.
    #[arg(long, env = "SLUICE_OTLP_ENDPOINT", value_parser = collector)]
    pub otlp_endpoint: Option<Uri>,

    /// Which part of the calls is traced, unless callers have decided that (W3C
    /// `traceparent`): from 0 to 1.
    #[arg(long, env = "SLUICE_TRACE_RATIO", default_value = "0.01", value_parser = ratio)]
    pub trace_ratio: f64,
}

/// Where the operations port is; `None` if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationsAddress(pub Option<SocketAddr>);

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Whether the log, on standard error, is for people.
    pub(super) fn is_human(self) -> bool {
        match self {
            Self::Auto => io::stderr().is_terminal(),
            Self::Human => true,
            Self::Json => false,
        }
    }
}
