use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    control::ControlPlane, hooks, publishing::Publishers, relays, servers::MediaServer,
    settings::EdgeSettings,
};

/// Answers hooks on a bound listener and runs relays until `shutdown`. Publishers stay
/// connected to their media server; relays are stopped and their leases given back.
pub async fn run(
    settings: EdgeSettings,
    hooks_listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let node_id = settings.node_id;
    let control = ControlPlane::new(settings.control_plane)?;
    let server = MediaServer::new(settings.media_server)?;
    let publishers = Publishers::new(control.clone(), node_id.clone(), settings.outage_grace);

    let hooks = hooks::serve(
        hooks_listener,
        settings.hooks_secret,
        server.clone(),
        publishers.clone(),
        shutdown.clone(),
    );
    let publishing = publishers.run(server, shutdown.clone());
    let relaying = async {
        if let Some(settings) = settings.relays {
            relays::run(control, node_id, settings, shutdown).await;
        }
    };
    tokio::join!(hooks, publishing, relaying);
    Ok(())
}
