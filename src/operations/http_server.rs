use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{MetricsCollector, routes};
use crate::transport::serve_http1;

/// The maximum number of concurrent connections; others wait.
const MAX_CONNECTIONS: usize = 16;

/// The HTTP server of the operations port, stopped when dropped.
#[derive(Debug)]
pub struct OperationsServer {
    tasks: JoinSet<()>,
}

impl OperationsServer {
    /// Binds the address and serves; without an address it does nothing.
    pub async fn start(
        address: Option<SocketAddr>,
        metrics: MetricsCollector,
    ) -> anyhow::Result<Self> {
        let mut tasks = JoinSet::new();
        if let Some(address) = address {
            let listener = TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen on {address} (SLUICE_OPERATIONS_LISTEN)")
            })?;
            let port = listener.local_addr()?;
            tracing::info!(%port, "serving operations");
            tasks.spawn(serve(listener, metrics));
        }
        Ok(Self { tasks })
    }

    /// Stops the server.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve(listener: TcpListener, metrics: MetricsCollector) {
    let metrics = Arc::new(metrics);
    let respond = move |request| {
        let metrics = Arc::clone(&metrics);
        async move { routes::respond(&metrics, request).await }
    };
    let shutdown = CancellationToken::new();
    serve_http1(listener, MAX_CONNECTIONS, false, shutdown, respond).await;
}
