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

use super::{Observed, answers};

/// How many connections are served at once; others wait.
const CONNECTIONS: usize = 16;

/// How long the head of a request may take to come, also of the next one.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection may last.
const AGE: Duration = Duration::from_secs(60);

/// How long to wait when the system gives no connections.
const RETRY: Duration = Duration::from_millis(100);

/// The bound port, which is closed when this is dropped.
#[derive(Debug)]
pub struct Port {
    serving: JoinSet<()>,
}

impl Port {
    /// Binds the port, and answers from now on; without an address there is none.
    pub async fn open(address: Option<SocketAddr>, observed: Observed) -> anyhow::Result<Self> {
        let mut serving = JoinSet::new();
        if let Some(address) = address {
            let listener = TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen on {address} (SLUICE_OPERATIONS_LISTEN)")
            })?;
            let port = listener.local_addr()?;
            tracing::info!(%port, "serving operations");
            serving.spawn(serve(listener, observed));
        }
        Ok(Self { serving })
    }

    /// Closes it.
    pub async fn close(mut self) {
        self.serving.shutdown().await;
    }
}

async fn serve(listener: TcpListener, observed: Observed) {
    let observed = Arc::new(observed);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&observed), place));
            }
            // There are too many files open, for example.
            Err(_) => sleep(RETRY).await,
        }
    }
}

async fn connection(stream: TcpStream, observed: Arc<Observed>, _place: OwnedSemaphorePermit) {
    let service = service_fn(|request| {
        let observed = Arc::clone(&observed);
        async move { Ok::<_, Infallible>(answers::answer(&observed, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever asked is gone, or too slow: nothing to be told.
    let _ = timeout(AGE, serving).await;
}
