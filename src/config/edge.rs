use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use http::Uri;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    LogFileSettings, LogFormat, OperationsAddress,
    arguments::SettingGroup,
    parse::{
        address, api_key, boolean, control_plane, duration, hooks_secret, http_url, ingest_host,
        log_filter, node_id, parsed, read_url, within,
    },
};
use crate::{
    domain::{Secret, UrlPolicy},
    telemetry::LogSettings,
};

/// The settings of an edge, which runs beside a media server. They have no `Debug`, as
/// some are secret.
#[derive(Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct EdgeConfig {
    /// The URL of the control plane: `http://` without TLS, `https://` with TLS.
    #[arg(long, env = "SLUICE_CONTROL_PLANE", default_value = "http://127.0.0.1:50051", value_parser = control_plane)]
    pub control_plane: Uri,

    /// A file with certificates (PEM) to trust instead of the certificate authorities of the
    /// platform.
    #[arg(long, env = "SLUICE_CONTROL_PLANE_CA")]
    pub control_plane_ca: Option<PathBuf>,

    /// An operator's API key with the scopes `streams:publish` and `relays:work`, from
    /// `sluice admin create-api-key`.
    #[arg(long, env = "SLUICE_API_KEY", hide_env_values = true, value_parser = api_key, conflicts_with = "api_key_file")]
    pub api_key: Option<Secret>,

    /// Instead of `SLUICE_API_KEY`: a file with the key. It is read again when the key is
    /// refused.
    #[arg(long, env = "SLUICE_API_KEY_FILE")]
    pub api_key_file: Option<PathBuf>,

    /// The unique name of the media server: 1 to 128 visible ASCII characters. Default:
    /// this machine's host name.
    #[arg(long, env = "SLUICE_NODE_ID", value_parser = node_id)]
    pub node_id: Option<String>,

    /// The kind of media server: `nginx-rtmp`, `mediamtx` or `srs`.
    #[arg(long, env = "SLUICE_MEDIA_SERVER", default_value = "nginx-rtmp")]
    pub media_server: MediaServerKind,

    /// The media server's HTTP API: for nginx-rtmp the server with `/stat` and `/control`,
    /// for MediaMTX and SRS their API. Default: its usual port on this machine.
    #[arg(long, env = "SLUICE_MEDIA_SERVER_API", value_parser = http_url("http://127.0.0.1:8080"))]
    pub media_server_api: Option<Uri>,

    /// The RTMP URL from which relays read published media, without application and
    /// stream.
    #[arg(long, env = "SLUICE_MEDIA_SERVER_RTMP", default_value = "rtmp://127.0.0.1:1935", value_parser = read_url)]
    pub media_server_rtmp: String,

    /// The HTTP address that answers the media server's hooks. Only the media server may
    /// reach it.
    #[arg(long, env = "SLUICE_HOOKS_LISTEN", default_value = "127.0.0.1:8085", value_parser = address)]
    pub hooks_listen: SocketAddr,

    /// The secret in the URL of each hook, which authenticates the media server: 16 to 128
    /// letters, digits, hyphens and underscores.
    #[arg(long, env = "SLUICE_HOOKS_SECRET", hide_env_values = true, value_parser = hooks_secret)]
    pub hooks_secret: Option<Secret>,

    /// Time that live publishers and their relays continue while the control plane is
    /// unreachable.
    #[arg(long, env = "SLUICE_OUTAGE_GRACE", default_value = "10min", value_parser = duration("0s", "1day"))]
    pub outage_grace: Duration,

    /// Maximum number of relays that run here; 0 means none. One whose video is encoded counts
    /// as ten.
    #[arg(long, env = "SLUICE_RELAY_CAPACITY", default_value = "20", value_parser = within(0..=1000))]
    pub relay_capacity: u32,

    /// The ffmpeg program (5 or later) that sends to SRT destinations.
    #[arg(long, env = "SLUICE_FFMPEG", default_value = "ffmpeg")]
    pub ffmpeg: PathBuf,

    /// Time without progress after which a relay is stopped and retried.
    #[arg(long, env = "SLUICE_RELAY_PROGRESS_TIMEOUT", default_value = "20s", value_parser = duration("100ms", "10min"))]
    pub relay_progress_timeout: Duration,

    /// A file with certificates (PEM) of authorities to trust for `rtmps` destinations, beside
    /// those of the platform.
    #[arg(long, env = "SLUICE_RELAY_CA_FILE")]
    pub relay_ca_file: Option<PathBuf>,

    /// Allows destinations on loopback and private addresses: for tests.
    #[arg(long, env = "SLUICE_ALLOW_PRIVATE_DESTINATIONS", default_value = "false", value_parser = boolean, action = clap::ArgAction::Set)]
    pub allow_private_destinations: bool,

    /// This system's own ingest hosts, `host` or `host:port`, comma-separated. They are
    /// refused as destinations.
    #[arg(long, env = "SLUICE_INGEST_HOSTS", value_delimiter = ',', value_parser = ingest_host)]
    pub ingest_hosts: Vec<String>,

    /// The address of the edge's operations port: HTTP with `/metrics`, `/livez`, `/readyz` and
    /// `/log`. It has no authentication: only operators may reach it. `off` disables it.
    #[arg(long, env = "SLUICE_EDGE_OPERATIONS_LISTEN", default_value = "127.0.0.1:9465", value_parser = parsed::<OperationsAddress>)]
    pub edge_operations_listen: OperationsAddress,

    /// The directory in which the edge keeps its state across restarts.
    #[arg(long, env = "SLUICE_EDGE_DIR", default_value = "data/edge")]
    pub edge_dir: PathBuf,

    /// The log filter, for example `info` or `sluice=debug`. Default: `info`.
    #[arg(long, env = "SLUICE_LOG", value_parser = log_filter)]
    pub log: Option<String>,

    /// The log format: `auto` is human-readable on a terminal and JSON otherwise.
    #[arg(long, env = "SLUICE_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,

    /// The log file.
    #[command(flatten)]
    pub log_file: LogFileSettings,
}

/// A media server that an edge can run beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MediaServerKind {
    /// nginx with nginx-rtmp-module.
    NginxRtmp,
    /// MediaMTX.
    #[value(name = "mediamtx")]
    MediaMtx,
    /// SRS.
    Srs,
}

impl MediaServerKind {
    /// Its value in the setting.
    pub fn name(self) -> &'static str {
        match self {
            Self::NginxRtmp => "nginx-rtmp",
            Self::MediaMtx => "mediamtx",
            Self::Srs => "srs",
        }
    }
}

impl SettingGroup for EdgeConfig {
    const SECTIONS: &'static [(&'static str, &'static str)] = &[
        ("control_plane", "Control plane"),
        ("node_id", "Media server"),
        ("hooks_listen", "Hooks"),
        ("outage_grace", "Outages"),
        ("relay_capacity", "Relays"),
        ("edge_operations_listen", "Metrics and probes"),
        ("edge_dir", "State"),
        ("log", "Log"),
    ];

    fn check_all(&self) -> Vec<String> {
        let mut errors: Vec<_> = self.check_api_key().err().into_iter().collect();
        errors.extend(self.required_hooks_secret().err());
        errors.extend(self.control_plane_certificates().err());
        errors.extend(self.relay_authorities().err());
        errors
    }
}

impl EdgeConfig {
    /// Checks that there is an API key.
    pub(crate) fn check_api_key(&self) -> Result<(), String> {
        match self.api_key.is_some() || self.api_key_file.is_some() {
            true => Ok(()),
            false => Err("SLUICE_API_KEY or SLUICE_API_KEY_FILE must be set".to_owned()),
        }
    }

    /// The secret in the URL of each hook.
    pub(crate) fn required_hooks_secret(&self) -> Result<Secret, String> {
        self.hooks_secret.clone().ok_or_else(|| {
            "SLUICE_HOOKS_SECRET must be set; make one with `openssl rand -hex 16`".to_owned()
        })
    }

    /// The node id; by default `host_name`, if that is a valid one.
    pub(crate) fn node_id_or(&self, host_name: Option<String>) -> Result<String, String> {
        let host_name = || host_name.filter(|name| node_id(name).is_ok());
        let name = self.node_id.clone().or_else(host_name);
        let missing =
            "SLUICE_NODE_ID must be set: the host name of this machine is not a valid node id";
        name.ok_or_else(|| missing.to_owned())
    }

    /// The certificates (PEM) to trust instead of the authorities of the platform.
    pub(crate) fn control_plane_certificates(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(file) = &self.control_plane_ca else {
            return Ok(None);
        };
        if self.control_plane.scheme_str() != Some("https") {
            return Err("SLUICE_CONTROL_PLANE_CA needs https:// in SLUICE_CONTROL_PLANE".into());
        }
        let pem = fs::read(file)
            .map_err(|error| format!("SLUICE_CONTROL_PLANE_CA cannot be read: {error}"))?;
        match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if !certificates.is_empty() => Ok(Some(pem)),
            _ => Err("SLUICE_CONTROL_PLANE_CA must be a file with certificates (PEM)".to_owned()),
        }
    }

    /// The certificate authorities to trust for destinations, beside those of the platform.
    pub(crate) fn relay_authorities(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let Some(file) = &self.relay_ca_file else {
            return Ok(Vec::new());
        };
        let pem = fs::read(file)
            .map_err(|error| format!("SLUICE_RELAY_CA_FILE cannot be read: {error}"))?;
        match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err("SLUICE_RELAY_CA_FILE must be a file with certificates (PEM)".to_owned()),
        }
    }

    /// Which destinations are refused.
    pub(crate) fn url_policy(&self) -> UrlPolicy {
        UrlPolicy {
            allow_private: self.allow_private_destinations,
            own_ingest_hosts: self.ingest_hosts.clone(),
        }
    }

    /// The settings of the log.
    pub fn log(&self) -> LogSettings {
        LogSettings {
            filter: self.log.clone().unwrap_or_else(|| "info".to_owned()),
            human: self.log_format.is_human(&self.log_file),
            colored: self.log_file.is_colored(),
            file: self.log_file.file(),
            traces_statements: false,
        }
    }
}
