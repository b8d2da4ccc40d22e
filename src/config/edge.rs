use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use http::Uri;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    LogFormat,
    parse::{
        address, api_key, control_plane, hooks_secret, http_url, ingest_host, log_filter, node_id,
        read_url, span, switch, within,
    },
};
use crate::{
    domain::{Secret, UrlPolicy},
    edge::{ApiKey, Edge, RelayTerms, ServerTerms, Terms},
    telemetry::LogSettings,
};

/// The settings of an edge, which runs beside a media server. They cannot be printed:
/// there are secrets among them.
#[derive(Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct EdgeConfig {
    /// The control plane: `http://` without TLS, `https://` with it.
    #[arg(long, env = "SLUICE_CONTROL_PLANE", default_value = "http://127.0.0.1:50051", value_parser = control_plane)]
    pub control_plane: Uri,

    /// Trusts these certificates (PEM) instead of the usual authorities.
    #[arg(long, env = "SLUICE_CONTROL_PLANE_CA")]
    pub control_plane_ca: Option<PathBuf>,

    /// An operator's API key with the scopes `streams:publish` and `relays:work`, as
    /// `sluice admin create-api-key` makes it.
    #[arg(long, env = "SLUICE_API_KEY", hide_env_values = true, value_parser = api_key, conflicts_with = "api_key_file")]
    pub api_key: Option<Secret>,

    /// The file with that key instead. It is read again when the key is refused.
    #[arg(long, env = "SLUICE_API_KEY_FILE")]
    pub api_key_file: Option<PathBuf>,

    /// The name of the media server, which no other one has: from 1 to 128 visible ASCII
    /// characters. Default: this machine's name.
    #[arg(long, env = "SLUICE_NODE_ID", value_parser = node_id)]
    pub node_id: Option<String>,

    /// What the media server is: `nginx-rtmp`, `mediamtx` or `srs`.
    #[arg(long, env = "SLUICE_MEDIA_SERVER", default_value = "nginx-rtmp")]
    pub media_server: MediaServerKind,

    /// Where it answers over HTTP: of nginx-rtmp the server with `/stat` and `/control`,
    /// of MediaMTX and SRS their API. Default: their usual port on this machine.
    #[arg(long, env = "SLUICE_MEDIA_SERVER_API", value_parser = http_url)]
    pub media_server_api: Option<Uri>,

    /// Where relays read what is published, without application and stream.
    #[arg(long, env = "SLUICE_MEDIA_SERVER_RTMP", default_value = "rtmp://127.0.0.1:1935", value_parser = read_url)]
    pub media_server_rtmp: String,

    /// Where the media server's hooks are answered: HTTP, for it and nobody else.
    #[arg(long, env = "SLUICE_HOOKS_LISTEN", default_value = "127.0.0.1:8085", value_parser = address)]
    pub hooks_listen: SocketAddr,

    /// What proves that a hook is the media server's: a part of its URL, from 16 to 128
    /// letters, digits, hyphens and underscores.
    #[arg(long, env = "SLUICE_HOOKS_SECRET", hide_env_values = true, value_parser = hooks_secret)]
    pub hooks_secret: Option<Secret>,

    /// For how long publishers that are live stay so, and relays go on, while the control
    /// plane is away.
    #[arg(long, env = "SLUICE_OUTAGE_GRACE", default_value = "10min", value_parser = span("0s", "1day"))]
    pub outage_grace: Duration,

    /// How many relays run here at most; 0 means that none does.
    #[arg(long, env = "SLUICE_RELAY_CAPACITY", default_value = "20", value_parser = within(0..=1000))]
    pub relay_capacity: u32,

    /// The program that relays are run with.
    #[arg(long, env = "SLUICE_FFMPEG", default_value = "ffmpeg")]
    pub ffmpeg: PathBuf,

    /// After how long without progress a relay is ended, to be tried again.
    #[arg(long, env = "SLUICE_RELAY_PATIENCE", default_value = "20s", value_parser = span("100ms", "10min"))]
    pub relay_patience: Duration,

    /// Allows destinations on loopback and private addresses: for tests.
    #[arg(long, env = "SLUICE_ALLOW_PRIVATE_DESTINATIONS", default_value = "false", value_parser = switch, action = clap::ArgAction::Set)]
    pub allow_private_destinations: bool,

    /// This system's own ingest, `host` or `host:port`, parted by commas: never a destination.
    #[arg(long, env = "SLUICE_INGEST_HOSTS", value_delimiter = ',', value_parser = ingest_host)]
    pub ingest_hosts: Vec<String>,

    /// Where the edge keeps what it must know after a restart.
    #[arg(long, env = "SLUICE_EDGE_DIR", default_value = "data/edge")]
    pub edge_dir: PathBuf,

    /// What is logged, for example `info` or `sluice=debug`. Default: `info`.
    #[arg(long, env = "SLUICE_LOG", value_parser = log_filter)]
    pub log: Option<String>,

    /// How it is logged: `auto` is human on a terminal and JSON otherwise.
    #[arg(long, env = "SLUICE_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// A media server that edges know.
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

impl EdgeConfig {
    /// What an edge needs; the sentence of a fault names the variable. `machine` tells
    /// the name of this machine.
    pub fn edge(&self, machine: impl Fn() -> Option<String>) -> Result<Edge, String> {
        let api_key = match (&self.api_key, &self.api_key_file) {
            (Some(key), _) => ApiKey::Text(key.clone()),
            (None, Some(file)) => ApiKey::File(file.clone()),
            (None, None) => return Err("SLUICE_API_KEY or SLUICE_API_KEY_FILE must be set".into()),
        };
        let own_name = || machine().filter(|name| node_id(name).is_ok());
        let named = self.node_id.clone().or_else(own_name);
        Ok(Edge {
            node_id: named.ok_or("SLUICE_NODE_ID must be set: this machine has no such name")?,
            control: Terms {
                address: self.control_plane.clone(),
                ca: self.trusted()?,
                api_key,
            },
            server: ServerTerms {
                kind: self.media_server,
                api: self.media_server_api.clone(),
                rtmp: self.media_server_rtmp.clone(),
                folder: self.edge_dir.clone(),
            },
            hooks_secret: self
                .hooks_secret
                .clone()
                .ok_or("SLUICE_HOOKS_SECRET must be set; make one with `openssl rand -hex 16`")?,
            outage_grace: self.outage_grace,
            relays: (self.relay_capacity > 0).then(|| RelayTerms {
                capacity: self.relay_capacity,
                ffmpeg: self.ffmpeg.clone(),
                patience: self.relay_patience,
                outage_grace: self.outage_grace,
                policy: self.url_policy(),
            }),
        })
    }

    /// The certificates that are trusted instead of the usual authorities.
    fn trusted(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(file) = &self.control_plane_ca else {
            return Ok(None);
        };
        if self.control_plane.scheme_str() != Some("https") {
            return Err("SLUICE_CONTROL_PLANE_CA must not be set without https://".to_owned());
        }
        let pem = fs::read(file)
            .map_err(|fault| format!("SLUICE_CONTROL_PLANE_CA cannot be read: {fault}"))?;
        match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if !certificates.is_empty() => Ok(Some(pem)),
            _ => Err("SLUICE_CONTROL_PLANE_CA must be a file with certificates (PEM)".to_owned()),
        }
    }

    /// Which destinations are refused.
    fn url_policy(&self) -> UrlPolicy {
        UrlPolicy {
            allow_private: self.allow_private_destinations,
            own_ingest_hosts: self.ingest_hosts.clone(),
        }
    }

    /// What is logged, and how.
    pub fn log(&self) -> LogSettings {
        LogSettings {
            filter: self.log.clone().unwrap_or_else(|| "info".to_owned()),
            human: self.log_format.is_human(),
            traces_statements: false,
        }
    }
}
