use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::{
    control_plane::ControlPlane, credentials::ApiKey, hooks, publishing::Publishers, relays,
    servers::MediaServer,
};
use crate::{config::EdgeConfig, domain::Secret};

/// The settings of an edge. Those that may be missing in its configuration are present.
pub struct EdgeSettings {
    config: EdgeConfig,
    /// The node id: the unique name of the media server.
    pub node_id: String,
    /// Certificates (PEM) that are trusted instead of the authorities of the platform.
    control_plane_ca: Option<Vec<u8>>,
    /// Authorities that are trusted for destinations, beside those of the platform.
    relay_authorities: Vec<CertificateDer<'static>>,
    api_key: ApiKey,
    /// The secret in the URL of each hook, which authenticates the media server.
    hooks_secret: Secret,
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

/// Answers hooks on a bound listener and runs relays until `shutdown`. Publishers stay
/// connected to their media server; relays are stopped and their leases given back.
pub async fn run(
    settings: EdgeSettings,
    hooks_listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let EdgeSettings {
        config,
        node_id,
        control_plane_ca,
        relay_authorities,
        api_key,
        hooks_secret,
    } = settings;
    let address = config.control_plane.clone();
    let control = ControlPlane::new(address, control_plane_ca.as_deref(), api_key)?;
    let server = MediaServer::new(
        config.media_server,
        config.media_server_api.clone(),
        config.media_server_rtmp.clone(),
        &config.edge_dir,
    )?;
    let publishers = Publishers::new(control.clone(), node_id.clone(), config.outage_grace);

    let hooks = hooks::serve(
        hooks_listener,
        hooks_secret,
        server.clone(),
        publishers.clone(),
        shutdown.clone(),
    );
    let publishing = publishers.run(server, shutdown.clone());
    let relaying = async {
        if config.relay_capacity > 0 {
            relays::run(control, node_id, config, relay_authorities, shutdown).await;
        }
    };
    tokio::join!(hooks, publishing, relaying);
    Ok(())
}
