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

use super::answering::Hooks;
use crate::{
    domain::Secret,
    edge::{publishing::Publishing, servers::MediaServer},
};

/// How many connections are served at once; others wait. Media servers open one for each
/// hook, and while the control plane is slow each takes seconds.
const CONNECTIONS: usize = 2048;

/// How long the head of a request may take to come, also of the next one.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection may last.
const AGE: Duration = Duration::from_secs(60);

/// How long hooks that run when the edge is to stop may take: longer than a begin.
const GRACE: Duration = Duration::from_secs(9);

/// How long to wait when the system gives no connections.
const RETRY: Duration = Duration::from_millis(100);

/// Answers hooks until `shutdown`, and those that have come by then.
pub(crate) async fn serve(
    listener: TcpListener,
    secret: Secret,
    server: MediaServer,
    publishing: Publishing,
    shutdown: CancellationToken,
) {
    let hooks = Hooks::new(&secret, server, publishing);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        if let Some((stream, place)) = accepted {
            connections.spawn(connection(stream, hooks.clone(), place, shutdown.clone()));
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, all).await.is_err() {
        tracing::warn!("hooks are left without an answer");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        // There are too many files open, for example.
        Err(_) => {
            sleep(RETRY).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    hooks: Hooks,
    _place: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) {
    // Whoever asks waits for so little that it goes out at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let hooks = hooks.clone();
        async move { Ok::<_, Infallible>(hooks.answer(request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
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
    // Whoever asked is gone, or too slow: nothing to be told.
    let _ = timeout(AGE, serving).await;
}
