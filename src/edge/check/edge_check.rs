use std::{env, fs, net::SocketAddr, path::PathBuf};

use crate::{
    config::{EdgeConfig, MediaServerKind},
    domain::Secret,
    edge::{
        control_plane::ControlPlane,
        servers::{HttpApi, MediaServer},
        settings::EdgeSettings,
    },
    random::random_id,
};

/// What is so, or what is wrong and how to fix it: one sentence.
pub(super) type Outcome = Result<String, String>;

/// The result of one check.
#[derive(Debug)]
pub struct CheckResult {
    /// What was checked.
    pub subject: &'static str,
    /// What is so, or what is wrong and how to fix it: one sentence.
    pub outcome: Result<String, String>,
}

/// The checks of an edge with these settings.
pub struct EdgeCheck {
    pub(super) config: EdgeConfig,
    pub(super) node_id: String,
    pub(super) hooks_secret: Secret,
    /// The RTMP application to which publishers send.
    pub(super) application: String,
    pub(super) control: ControlPlane,
    pub(super) media_server: MediaServer,
    /// For the state of the clients of this run only.
    state_dir: PathBuf,
}

impl Drop for EdgeCheck {
    fn drop(&mut self) {
        // A directory that cannot be removed is one of temporary files.
        let _ = fs::remove_dir_all(&self.state_dir);
    }
}

impl EdgeCheck {
    /// Checks for an edge whose publishers send to this RTMP application.
    pub fn new(settings: EdgeSettings, application: String) -> anyhow::Result<Self> {
        let EdgeSettings {
            config,
            node_id,
            control_plane_ca,
            relay_authorities: _,
            api_key,
            hooks_secret,
        } = settings;
        let address = config.control_plane.clone();
        let control = ControlPlane::new(address, control_plane_ca.as_deref(), api_key)?;
        let state_dir = env::temp_dir().join(format!("sluice-check-{}", random_id()));
        let media_server = MediaServer::new(
            config.media_server,
            config.media_server_api.clone(),
            config.media_server_rtmp.clone(),
            &state_dir,
        )?;
        Ok(Self {
            config,
            node_id,
            hooks_secret,
            application,
            control,
            media_server,
            state_dir,
        })
    }

    pub(super) fn server_name(&self) -> &'static str {
        match self.config.media_server {
            MediaServerKind::NginxRtmp => "nginx-rtmp",
            MediaServerKind::MediaMtx => "MediaMTX",
            MediaServerKind::Srs => "SRS",
        }
    }

    pub(super) fn api_name(&self) -> &'static str {
        match self.config.media_server {
            MediaServerKind::NginxRtmp => "the HTTP server of nginx with /stat and /control",
            MediaServerKind::MediaMtx => "the API of MediaMTX",
            MediaServerKind::Srs => "the http_api of SRS",
        }
    }

    /// The configuration in this repository that works.
    pub(super) fn configuration_file(&self) -> &'static str {
        match self.config.media_server {
            MediaServerKind::NginxRtmp => "deploy/nginx-rtmp/nginx.conf",
            MediaServerKind::MediaMtx => "deploy/mediamtx/mediamtx.yml",
            MediaServerKind::Srs => "deploy/srs/srs.conf",
        }
    }
}

/// Whether a process of Sluice answers on this address.
pub(super) async fn is_alive(address: SocketAddr) -> bool {
    let response = HttpApi::of_address(address).get("/livez").await;
    response.is_ok_and(|response| response.body().starts_with(b"alive"))
}
