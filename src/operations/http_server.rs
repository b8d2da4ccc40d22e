use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{MetricsCollector, routes};

/// The maximum number of concurrent connections; others wait.
const MAX_CONNECTIONS: usize = 16;

/// The timeout for the head of each request of a connection.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum age of a connection.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60);

/// The pause after a failed accept.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

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
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, Arc::clone(&metrics), permit));
            }
            // For example because too many files are open.
            Err(_) => sleep(ACCEPT_RETRY_DELAY).await,
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    metrics: Arc<MetricsCollector>,
    _permit: OwnedSemaphorePermit,
) {
    let service = service_fn(|request| {
        let metrics = Arc::clone(&metrics);
        async move { Ok::<_, Infallible>(routes::respond(&metrics, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // The client has left or is too slow: no error to report.
    let _ = timeout(MAX_CONNECTION_AGE, serving).await;
}
