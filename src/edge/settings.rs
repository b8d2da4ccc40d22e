use tokio_rustls::rustls::pki_types::CertificateDer;

use super::credentials::ApiKey;
use crate::{config::EdgeConfig, domain::Secret};

/// The settings of an edge. Those that may be missing in its configuration are present.
pub struct EdgeSettings {
    pub(super) config: EdgeConfig,
    /// The node id: the unique name of the media server.
    pub node_id: String,
    /// Certificates (PEM) that are trusted instead of the authorities of the platform.
    pub(super) control_plane_ca: Option<Vec<u8>>,
    /// Authorities that are trusted for destinations, beside those of the platform.
    pub(super) relay_authorities: Vec<CertificateDer<'static>>,
    pub(super) api_key: ApiKey,
    /// The secret in the URL of each hook, which authenticates the media server.
    pub(super) hooks_secret: Secret,
}

impl EdgeSettings {
    /// Reads the configuration. `host_name` is the default of the node id. An error names
    /// the variable that is missing or wrong.
    pub fn new(config: EdgeConfig, host_name: Option<String>) -> Result<Self, String> {
        config.check_api_key()?;
        let api_key = match &config.api_key {
            Some(key) => ApiKey::Text(key.clone()),
            None => ApiKey::File(config.api_key_file.clone().unwrap_or_default()),
        };
        Ok(Self {
            node_id: config.node_id_or(host_name)?,
            control_plane_ca: config.control_plane_certificates()?,
            relay_authorities: config.relay_authorities()?,
            api_key,
            hooks_secret: config.required_hooks_secret()?,
            config,
        })
    }
}
