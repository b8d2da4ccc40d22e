use http::{Request, StatusCode};
use hyper::body::Body;

use super::{
    hook::{Hook, HookContent, HookResponse, Route, SecretHash, text},
    media_mtx, nginx_rtmp, srs,
};
use crate::{
    domain::Secret,
    edge::{publishing::Publishers, servers::MediaServer},
};

/// Handles the hooks of one media server. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct HookHandler {
    secret: SecretHash,
    server: MediaServer,
    publishers: Publishers,
}

impl HookHandler {
    /// A handler for hooks with this secret in their path.
    pub(super) fn new(secret: &Secret, server: MediaServer, publishers: Publishers) -> Self {
        let secret = SecretHash::new(secret);
        Self {
            secret,
            server,
            publishers,
        }
    }

    /// Handles one request. A hook that was read runs to its end, even if the media server
    /// closes the connection: its call to the control plane may have taken effect.
    pub(super) async fn handle<B>(&self, request: Request<B>) -> HookResponse
    where
        B: Body<Error: std::error::Error + Send + Sync + 'static>,
    {
        let hook = match Route::parse(request.method(), request.uri().path(), &self.secret) {
            Route::Hook(hook) => hook,
            Route::Liveness => return text(StatusCode::OK, "alive"),
            Route::MethodNotAllowed => {
                return text(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed");
            }
            Route::NotFound => return not_found(),
        };
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
                media_mtx::available(publishers, &content)
            }
            (MediaServer::MediaMtx(_), Hook::MtxUnavailable) => {
                media_mtx::unavailable(publishers, &content)
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
