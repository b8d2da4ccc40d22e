use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The longest time until the head of a request is complete, also on an idle connection.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum age of a connection.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60);

/// The pause after a failed accept.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 with short responses until `shutdown`. Returns the connections that
/// are open then, which end after their running request. Connections above the maximum
/// wait. `no_delay` sends each part of a response at once.
pub async fn serve_http1<R>(
    listener: TcpListener,
    max_connections: usize,
    no_delay: bool,
    shutdown: CancellationToken,
    respond: impl Fn(Request<Incoming>) -> R + Clone + Send + 'static,
) -> JoinSet<()>
where
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = shutdown.cancelled() => return connections,
            accepted = accept => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // For example, too many files are open.
            sleep(ACCEPT_RETRY_DELAY).await;
            continue;
        };
        if no_delay {
            let _ = stream.set_nodelay(true);
        }
        let serving = serve_connection(stream, respond.clone(), shutdown.clone());
        connections.spawn(async move {
            let _permit = permit;
            serving.await;
        });
    }
}

async fn serve_connection<R>(
    stream: TcpStream,
    respond: impl Fn(Request<Incoming>) -> R,
    shutdown: CancellationToken,
) where
    R: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(move |request| {
        let response = respond(request);
        async { Ok::<_, Infallible>(response.await) }
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

/// A short response with a body of this content type.
pub fn short_response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    set_security_headers(headers);
    response
}

/// Tells browsers neither to store a response, nor to show it as a page, nor to guess its
/// type.
pub fn set_security_headers(headers: &mut HeaderMap) {
    const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
