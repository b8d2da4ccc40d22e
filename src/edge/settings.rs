use std::time::Duration;

use super::{
    control::ControlPlaneSettings, credentials::ApiKey, relays::RelaySettings,
    servers::MediaServerSettings,
};
use crate::{config::EdgeConfig, domain::Secret};

/// The settings of an edge.
pub struct EdgeSettings {
    /// The node id: the unique name of the media server.
    pub node_id: String,
    pub(super) control_plane: ControlPlaneSettings,
    pub(super) media_server: MediaServerSettings,
    /// The secret in the URL of each hook, which authenticates the media server.
    pub(super) hooks_secret: Secret,
    /// Time that live publishers continue while the control plane is unreachable.
    pub(super) outage_grace: Duration,
    /// How relays run; `None` if none run here.
    pub(super) relays: Option<RelaySettings>,
}

impl EdgeSettings {
    /// Reads the configuration. `host_name` is the default of the node id. An error names
    /// the variable that is missing or wrong.
    pub fn new(config: &EdgeConfig, host_name: Option<String>) -> Result<Self, String> {
        let api_key = match (&config.api_key, &config.api_key_file) {
            (Some(key), _) => ApiKey::Text(key.clone()),
            (None, Some(file)) => ApiKey::File(file.clone()),
            (None, None) => return Err("SLUICE_API_KEY or SLUICE_API_KEY_FILE must be set".into()),
        };
        Ok(Self {
            node_id: config.node_id_or(host_name)?,
            control_plane: ControlPlaneSettings {
                address: config.control_plane.clone(),
                ca: config.control_plane_certificates()?,
                api_key,
            },
            media_server: MediaServerSettings {
                kind: config.media_server,
                api: config.media_server_api.clone(),
                rtmp_url: config.media_server_rtmp.clone(),
                state_dir: config.edge_dir.clone(),
            },
            hooks_secret: config
                .hooks_secret
                .clone()
                .ok_or("SLUICE_HOOKS_SECRET must be set; make one with `openssl rand -hex 16`")?,
            outage_grace: config.outage_grace,
            relays: (config.relay_capacity > 0).then(|| RelaySettings {
                capacity: config.relay_capacity,
                ffmpeg: config.ffmpeg.clone(),
                progress_timeout: config.relay_patience,
                outage_grace: config.outage_grace,
                url_policy: config.url_policy(),
            }),
        })
    }
}
