use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    telemetry,
    transport::{serve_http1, short_response},
};

/// The maximum number of concurrent connections; others wait.
const MAX_CONNECTIONS: usize = 16;

/// The maximum length of a log filter, in bytes.
const MAX_FILTER_SIZE: usize = 4096;

/// The content type of the Prometheus text format.
const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The content type of all other responses.
const TEXT_CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// A process with an operations port.
pub trait Monitored: Send + Sync + 'static {
    /// Whether it is ready, and its state in words.
    fn readiness(&self) -> (bool, &'static str);

    /// All metrics in the Prometheus text format 0.0.4.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

/// The HTTP server of the operations port, stopped when dropped.
#[derive(Debug)]
pub struct OperationsServer {
    tasks: JoinSet<()>,
}

impl OperationsServer {
    /// Binds the address, which is the value of the setting `variable`, and serves; without an
    /// address it does nothing.
    pub async fn start(
        address: Option<SocketAddr>,
        variable: &str,
        process: impl Monitored,
    ) -> anyhow::Result<Self> {
        let mut tasks = JoinSet::new();
        if let Some(address) = address {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address} ({variable})"))?;
            let port = listener.local_addr()?;
            tracing::info!(%port, "serving operations");
            tasks.spawn(serve(listener, process));
        }
        Ok(Self { tasks })
    }

    /// Stops the server.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve(listener: TcpListener, process: impl Monitored) {
    let process = Arc::new(process);
    let handle = move |request| {
        let process = Arc::clone(&process);
        async move { respond(&*process, request).await }
    };
    let shutdown = CancellationToken::new();
    serve_http1(listener, MAX_CONNECTIONS, false, shutdown, handle).await;
}

/// Responds to one request.
async fn respond<M, B>(process: &M, request: Request<B>) -> Response<Full<Bytes>>
where
    M: Monitored,
    B: Body<Error: std::error::Error + Send + Sync + 'static>,
{
    let is_get = [Method::GET, Method::HEAD].contains(request.method());
    match (request.uri().path(), is_get) {
        ("/metrics", true) => short_response(
            StatusCode::OK,
            METRICS_CONTENT_TYPE,
            process.metrics().await,
        ),
        ("/livez", true) => plain_text(StatusCode::OK, "alive"),
        ("/readyz", true) => readyz(process.readiness()),
        ("/log", true) => match telemetry::log_filter() {
            Some(filter) => plain_text(StatusCode::OK, &filter.text()),
            None => plain_text(StatusCode::NOT_FOUND, "there is no log"),
        },
        ("/log", false) if request.method() == Method::PUT => set_filter(request).await,
        ("/metrics" | "/livez" | "/readyz" | "/log", false) => {
            plain_text(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed")
        }
        _ => plain_text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /livez, /readyz and /log",
        ),
    }
}

fn readyz((is_ready, state): (bool, &str)) -> Response<Full<Bytes>> {
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    plain_text(status, state)
}

async fn set_filter<B>(request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Error: std::error::Error + Send + Sync + 'static>,
{
    let body = Limited::new(request.into_body(), MAX_FILTER_SIZE)
        .collect()
        .await;
    let Ok(body) = body else {
        return plain_text(StatusCode::PAYLOAD_TOO_LARGE, "the filter is too long");
    };
    let Some(filter) = telemetry::log_filter() else {
        return plain_text(StatusCode::NOT_FOUND, "there is no log");
    };
    let directives = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
    if directives.is_empty() {
        return plain_text(StatusCode::BAD_REQUEST, "there is no filter in the request");
    }
    match filter.set(&directives) {
        Ok(()) => {
            tracing::warn!(filter = directives, "the log filter was changed");
            plain_text(StatusCode::OK, &directives)
        }
        Err(error) => plain_text(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn plain_text(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    short_response(status, TEXT_CONTENT_TYPE, format!("{message}\n"))
}
