use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    ControlPlane, RelayTerms, ServerTerms, Terms, hooks, publishing::Publishing, relays,
    servers::MediaServer,
};
use crate::domain::Secret;

/// What an edge needs.
pub struct Edge {
    /// The name of the media server.
    pub node_id: String,
    /// The control plane.
    pub control: Terms,
    /// The media server.
    pub server: ServerTerms,
    /// What proves that a hook is the media server's.
    pub hooks_secret: Secret,
    /// For how long live publishers stay so while the control plane is away.
    pub outage_grace: Duration,
    /// How relays run; `None` if none do.
    pub relays: Option<RelayTerms>,
}

/// Answers hooks on a bound listener and runs relays until `shutdown`. Publishers stay
/// with their media server; relays are stopped and given back.
pub async fn run(
    edge: Edge,
    hooks_listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let control = ControlPlane::new(edge.control)?;
    let server = MediaServer::new(edge.server)?;
    let publishing = Publishing::new(control.clone(), edge.node_id.clone(), edge.outage_grace);

    let hooks = hooks::serve(
        hooks_listener,
        edge.hooks_secret,
        server.clone(),
        publishing.clone(),
        shutdown.clone(),
    );
    let keeping = publishing.keep(server, shutdown.clone());
    let relaying = async {
        if let Some(terms) = edge.relays {
            relays::run(control, edge.node_id, terms, shutdown).await;
        }
    };
    tokio::join!(hooks, keeping, relaying);
    Ok(())
}
