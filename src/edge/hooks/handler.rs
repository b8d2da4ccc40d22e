use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    hook::{Hook, HookContent, HookResponse, outcome, text},
    media_mtx, nginx_rtmp, srs,
};
use crate::{
    domain::Secret,
    edge::{publishing::Publishers, servers::MediaServer},
    random::sha256,
    telemetry::metrics::EDGE,
    transport::serve_http1,
};

/// The most connections at once; others wait. Media servers open one for each hook, and
/// each lasts seconds while the control plane is slow.
const MAX_CONNECTIONS: usize = 2048;

/// The longest time that running hooks may take at shutdown: longer than a begin.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(9);

/// Serves hooks with this secret in their path until `shutdown`, and then those that run.
pub(crate) async fn serve(
    listener: TcpListener,
    secret: Secret,
    server: MediaServer,
    publishers: Publishers,
    shutdown: CancellationToken,
) {
    let handler = HookHandler {
        secret_hash: sha256(secret.expose()),
        server,
        publishers,
    };
    let respond = move |request| {
        let handler = handler.clone();
        async move { handler.handle(request).await }
    };
    // Responses are small, and the media server waits for them.
    let no_delay = true;
    let mut running = serve_http1(listener, MAX_CONNECTIONS, no_delay, shutdown, respond).await;
    let all = async { while running.join_next().await.is_some() {} };
    if timeout(DRAIN_TIMEOUT, all).await.is_err() {
        tracing::warn!("some hooks did not finish before the shutdown");
    }
}

/// Handles the hooks of one media server. Cheap to clone.
#[derive(Debug, Clone)]
struct HookHandler {
    /// The SHA-256 of the secret that authenticates the media server.
    secret_hash: Vec<u8>,
    server: MediaServer,
    publishers: Publishers,
}

impl HookHandler {
    /// Handles one request. A hook that was read runs to its end, even if the media server
    /// closes the connection: its call to the control plane may have taken effect.
    async fn handle(&self, request: Request<Incoming>) -> HookResponse {
        let (method, path) = (request.method(), request.uri().path());
        let not_allowed = || text(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed");
        if path == "/livez" {
            return match *method {
                Method::GET | Method::HEAD => text(StatusCode::OK, "alive"),
                _ => not_allowed(),
            };
        }
        let hook = match Hook::of_path(path, &self.secret_hash) {
            Some(hook) if method == Method::POST => hook,
            Some(_) => return not_allowed(),
            None => {
                EDGE.unknown_requests.inc();
                return not_found();
            }
        };
        let received_at = Instant::now();
        let response = self.respond(hook, request).await;
        EDGE.hook(hook.name(), outcome(&response), received_at.elapsed());
        response
    }

    async fn respond(&self, hook: Hook, request: Request<Incoming>) -> HookResponse {
        let content = match HookContent::read(request).await {
            Ok(content) => content,
            Err(response) => return response,
        };
        let handler = self.clone();
        let handling = tokio::spawn(async move { handler.dispatch(hook, content).await });
        let failed = |_| text(StatusCode::INTERNAL_SERVER_ERROR, "the hook failed");
        handling.await.unwrap_or_else(failed)
    }

    async fn dispatch(&self, hook: Hook, content: HookContent) -> HookResponse {
        let publishers = &self.publishers;
        match (&self.server, hook) {
            (MediaServer::NginxRtmp(server), Hook::NginxPublish) => {
                nginx_rtmp::publish(server, publishers, &content).await
            }
            (MediaServer::NginxRtmp(server), Hook::NginxPublishDone) => {
                nginx_rtmp::publish_done(server, publishers, &content)
            }
            (MediaServer::NginxRtmp(server), Hook::NginxUpdate) => {
                nginx_rtmp::update(server, publishers, &content).await
            }
            (MediaServer::MediaMtx(server), Hook::MtxAuth) => {
                media_mtx::auth(server, publishers, &content).await
            }
            (MediaServer::MediaMtx(_), Hook::MtxAvailable) => {
                media_mtx::source_changed(&content, |id| publishers.media_started(id))
            }
            (MediaServer::MediaMtx(_), Hook::MtxUnavailable) => {
                media_mtx::source_changed(&content, |id| publishers.end(id))
            }
            (MediaServer::Srs(server), Hook::SrsPublish) => {
                srs::publish(server, publishers, &content).await
            }
            (MediaServer::Srs(server), Hook::SrsUnpublish) => {
                srs::unpublish(server, publishers, &content)
            }
            (_, hook) => {
                let server = hook.server();
                tracing::warn!(
                    ?server,
                    "received a hook of another kind of media server (SLUICE_MEDIA_SERVER)"
                );
                not_found()
            }
        }
    }
}

fn not_found() -> HookResponse {
    text(StatusCode::NOT_FOUND, "not found")
}
