use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::{Args, ValueEnum};
use http::Uri;
use percent_encoding::percent_decode_str;

use super::{
    parse::{boolean, collector_url, duration, log_filter, parsed, ratio, within},
    variables::no_color,
};
use crate::telemetry::LogFile;

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

    /// The log file.
    #[command(flatten)]
    pub log_file: LogFileSettings,

    /// Duration from which a successful call is logged as slow, at `info`.
    #[arg(long, env = "SLUICE_SLOW_CALL", default_value = "1s", value_parser = duration("1ms", "1h"))]
    pub slow_call: Duration,

    /// Sends traces to an OpenTelemetry collector (OTLP over gRPC), for example
    /// `http://127.0.0.1:4317` or, over TLS, `https://otel.example.com:4317`.
    #[arg(long, env = "SLUICE_OTLP_ENDPOINT", value_parser = collector_url)]
    pub otlp_endpoint: Option<Uri>,

    /// Sends the log to that collector too.
    #[arg(long, env = "SLUICE_OTLP_LOGS", default_value = "false", value_parser = boolean, action = clap::ArgAction::Set)]
    pub otlp_logs: bool,

    /// The fraction of calls that are traced, from 0 to 1, unless the caller decides (W3C
    /// `traceparent`).
    #[arg(long, env = "SLUICE_TRACE_RATIO", default_value = "0.01", value_parser = ratio)]
    pub trace_ratio: f64,

    /// The `service.name` of this server for the collector. Default: `sluice`.
    #[arg(long, env = "OTEL_SERVICE_NAME")]
    pub service_name: Option<String>,

    /// Attributes of this server for the collector, percent-encoded, for example
    /// `deployment.environment.name=staging,service.instance.id=eu-1`.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_parser = parsed::<ResourceAttributes>)]
    pub resource_attributes: Option<ResourceAttributes>,
}

/// The settings of a log file.
#[derive(Clone, Args)]
pub struct LogFileSettings {
    /// Writes the log to this file instead of standard error. A rotated file has its date before
    /// the extension: `sluice.log` becomes `sluice.2026-01-31.log`.
    #[arg(long, env = "SLUICE_LOG_FILE")]
    pub log_file: Option<PathBuf>,

    /// When the log continues in a new file: `never`, `hourly` or `daily`, in UTC.
    #[arg(long, env = "SLUICE_LOG_ROTATION", default_value = "daily")]
    pub log_rotation: LogRotation,

    /// Maximum number of rotated log files; the oldest ones are deleted.
    #[arg(long, env = "SLUICE_LOG_FILES", default_value = "7", value_parser = within(1..=1000))]
    pub log_files: u32,
}

/// When the log continues in a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogRotation {
    /// The log stays in one file.
    Never,
    /// Each hour.
    Hourly,
    /// Each day.
    Daily,
}

impl LogFileSettings {
    /// Whether the log has colours: on a terminal, unless `NO_COLOR` is set.
    pub(super) fn is_colored(&self) -> bool {
        self.log_file.is_none() && io::stderr().is_terminal() && !no_color()
    }

    /// The log file, if there is one.
    pub(super) fn file(&self) -> Option<LogFile> {
        let date_format = match self.log_rotation {
            LogRotation::Never => None,
            LogRotation::Hourly => Some("%Y-%m-%d-%H"),
            LogRotation::Daily => Some("%Y-%m-%d"),
        };
        Some(LogFile {
            path: self.log_file.clone()?,
            date_format,
            max_files: usize::try_from(self.log_files).unwrap_or(usize::MAX),
        })
    }
}

/// Attributes by their keys, from `key=value,key=value`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceAttributes(pub BTreeMap<String, String>);

impl FromStr for ResourceAttributes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const INVALID: &str = "must be attributes such as \
            deployment.environment.name=staging,service.instance.id=eu-1";
        let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
        let attributes = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').ok_or(INVALID)?;
            let value = percent_decode_str(value.trim()).decode_utf8();
            let value = value.map_err(|_| INVALID)?.into_owned();
            match key.trim() {
                "" => Err(INVALID),
                key => Ok((key.to_owned(), value)),
            }
        });
        attributes.collect::<Result<_, _>>().map(Self)
    }
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
    /// Whether the log is human-readable: in a file or on standard error.
    pub(super) fn is_human(self, file: &LogFileSettings) -> bool {
        match self {
            Self::Auto => file.log_file.is_none() && io::stderr().is_terminal(),
            Self::Human => true,
            Self::Json => false,
        }
    }
}
