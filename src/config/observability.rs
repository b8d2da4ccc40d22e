use std::{
    io::{self, IsTerminal},
    net::SocketAddr,
    str::FromStr,
    time::Duration,
};

use clap::{Args, ValueEnum};
use http::Uri;

use super::{
    parse::{duration, http_url, log_filter, parsed, ratio},
    variables::no_color,
};

/// The settings of logs, metrics, probes and traces.
#[derive(Clone, Args)]
pub struct ObservabilitySettings {
    /// The address of the operations port: HTTP with `/metrics`, `/livez`, `/readyz` and `/log`. It
    /// has no authentication: only operators may reach it. `off` disables it.
    #[arg(long, env = "SLUICE_OPERATIONS_LISTEN", default_value = "127.0.0.1:9464", value_parser = parsed::<OperationsAddress>)]
    pub operations_listen: OperationsAddress,

    /// The log filter, for example `info` or `sluice=debug,sqlx=debug`. Successful calls are logged
    /// at `debug` with the target `sluice::calls`. Default: `info`, in development also
    /// `sluice::calls=debug`.
    #[arg(long, env = "SLUICE_LOG", value_parser = log_filter)]
    pub log: Option<String>,

    /// The log format: `human`, `json`, or `auto`, which is human-readable on a terminal and JSON
    /// otherwise.
    #[arg(long, env = "SLUICE_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,

    /// Duration from which a successful call is logged as slow, at `info`.
    #[arg(long, env = "SLUICE_SLOW_CALL", default_value = "1s", value_parser = duration("1ms", "1h"))]
    pub slow_call: Duration,

    /// Sends traces to an OpenTelemetry collector (OTLP over gRPC, without TLS, so it should run
    /// beside this server), for example `http://127.0.0.1:4317`.
    #[arg(long, env = "SLUICE_OTLP_ENDPOINT", value_parser = http_url("http://127.0.0.1:4317"))]
    pub otlp_endpoint: Option<Uri>,

    /// The fraction of calls that are traced, from 0 to 1, unless the caller decides (W3C
    /// `traceparent`).
    #[arg(long, env = "SLUICE_TRACE_RATIO", default_value = "0.01", value_parser = ratio)]
    pub trace_ratio: f64,
}

/// The address of the operations port; `None` if it is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationsAddress(pub Option<SocketAddr>);

impl FromStr for OperationsAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("off", _) => Ok(Self(None)),
            (_, Ok(address)) => Ok(Self(Some(address))),
            _ => Err("must be an IP address and a port, such as 127.0.0.1:9464, or off"),
        }
    }
}

/// The log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable on a terminal, JSON otherwise.
    Auto,
    /// Human-readable lines.
    Human,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Whether the log on standard error is human-readable.
    pub(super) fn is_human(self) -> bool {
        match self {
            Self::Auto => io::stderr().is_terminal(),
            Self::Human => true,
            Self::Json => false,
        }
    }
}

/// Whether the log has colours: on a terminal, unless `NO_COLOR` is set.
pub(super) fn is_log_colored() -> bool {
    io::stderr().is_terminal() && !no_color()
}
