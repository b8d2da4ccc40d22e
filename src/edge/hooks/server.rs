use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::handler::HookHandler;
use crate::{
    domain::Secret,
    edge::{publishing::Publishers, servers::MediaServer},
};

/// The most connections at once; others wait. Media servers open one for each hook, and
/// each lasts seconds while the control plane is slow.
const MAX_CONNECTIONS: usize = 2048;

/// The longest time until the head of a request is complete, also on an idle connection.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);

const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60);

/// The longest time that running hooks may take at shutdown: longer than a begin.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(9);

const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves hooks until `shutdown`, and then those that run.
pub(crate) async fn serve(
    listener: TcpListener,
    secret: Secret,
    server: MediaServer,
    publishers: Publishers,
    shutdown: CancellationToken,
) {
    let handler = HookHandler::new(&secret, server, publishers);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        if let Some((stream, permit)) = accepted {
            let serving = serve_connection(stream, handler.clone(), permit, shutdown.clone());
            connections.spawn(serving);
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_TIMEOUT, all).await.is_err() {
        tracing::warn!("some hooks did not finish before the shutdown");
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        // For example, too many files are open.
        Err(_) => {
            sleep(ACCEPT_RETRY_DELAY).await;
            None
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    handler: HookHandler,
    _permit: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) {
    // Responses are small, and the media server waits for them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.handle(request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let serving = async {
        tokio::select! {
            _ = &mut serving => return,
            () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    };
    // An error means that the client is gone or too slow.
    let _ = timeout(MAX_CONNECTION_AGE, serving).await;
}
