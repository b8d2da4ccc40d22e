use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    check::program_exists, control_plane::ControlPlane, hooks, monitor::EdgeMonitor,
    publishing::Publishers, relays, servers::MediaServer, settings::EdgeSettings,
};
use crate::operations::OperationsServer;

/// The most accepted streams that the relays have not been told of.
const MAX_ACCEPTED_STREAMS: usize = 64;

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
    let (accepted, accepted_streams) = mpsc::channel(MAX_ACCEPTED_STREAMS);
    let publishers = Publishers::new(
        control.clone(),
        node_id.clone(),
        config.outage_grace,
        accepted,
    );

    let monitor = EdgeMonitor::new(publishers.clone(), config.relay_capacity, shutdown.clone());
    let address = config.edge_operations_listen.0;
    let operations =
        OperationsServer::start(address, "SLUICE_EDGE_OPERATIONS_LISTEN", monitor).await?;

    let hooks = hooks::serve(
        hooks_listener,
        hooks_secret,
        server.clone(),
        publishers.clone(),
        shutdown.clone(),
    );
    let publishing = publishers.run(server, shutdown.clone());
    let meters = publishers.media_meters();
    let relaying = async {
        if config.relay_capacity > 0 {
            if !program_exists(&config.ffmpeg) {
                let program = config.ffmpeg.display();
                tracing::warn!(%program, "ffmpeg is missing (SLUICE_FFMPEG): SRT relays need it");
            }
            let authorities = relay_authorities;
            relays::run(
                control,
                node_id,
                config,
                authorities,
                meters,
                accepted_streams,
                shutdown,
            )
            .await;
        }
    };
    tokio::join!(hooks, publishing, relaying);
    operations.close().await;
    Ok(())
}
