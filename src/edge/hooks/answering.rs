use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use tokio::time::timeout;

use super::{
    answer::{Answer, say},
    hook::{Hook, Proof, Wanted},
    media_mtx, nginx_rtmp, srs,
};
use crate::{
    domain::Secret,
    edge::{publishing::Publishing, servers::MediaServer},
};

/// The longest body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(5);

/// What answers hooks. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Hooks {
    proof: Proof,
    server: MediaServer,
    publishing: Publishing,
}

/// What came with a hook.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) query: String,
    pub(super) body: Bytes,
}

impl Hooks {
    /// Answers hooks of one media server, with one secret.
    pub(super) fn new(secret: &Secret, server: MediaServer, publishing: Publishing) -> Self {
        let proof = Proof::new(secret);
        Self {
            proof,
            server,
            publishing,
        }
    }

    /// Answers one request. What was begun is finished, whether the media server still
    /// listens or not.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Error: std::error::Error + Send + Sync + 'static>,
    {
        let hook = match Wanted::of(request.method(), request.uri().path(), &self.proof) {
            Wanted::Hook(hook) => hook,
            Wanted::Life => return say(StatusCode::OK, "alive"),
            Wanted::OtherMethod => {
                return say(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed");
            }
            Wanted::Nothing => return nothing(),
        };
        let content = match Content::read(request).await {
            Ok(content) => content,
            Err(answer) => return answer,
        };

        let hooks = self.clone();
        let answering = tokio::spawn(async move { hooks.take(hook, content).await });
        let failed = |_| say(StatusCode::INTERNAL_SERVER_ERROR, "the hook failed");
        answering.await.unwrap_or_else(failed)
    }

    async fn take(&self, hook: Hook, content: Content) -> Answer {
        let publishing = &self.publishing;
        match (&self.server, hook) {
            (MediaServer::NginxRtmp(server), Hook::NginxPublish) => {
                nginx_rtmp::publish(server, publishing, &content).await
            }
            (MediaServer::NginxRtmp(server), Hook::NginxPublishDone) => {
                nginx_rtmp::publish_done(server, publishing, &content).await
            }
            (MediaServer::NginxRtmp(server), Hook::NginxUpdate) => {
                nginx_rtmp::update(server, publishing, &content).await
            }
            (MediaServer::MediaMtx(server), Hook::MtxAuth) => {
                media_mtx::auth(server, publishing, &content).await
            }
            (MediaServer::MediaMtx(_), Hook::MtxAvailable) => {
                media_mtx::available(publishing, &content).await
            }
            (MediaServer::MediaMtx(_), Hook::MtxUnavailable) => {
                media_mtx::unavailable(publishing, &content).await
            }
            (MediaServer::Srs(server), Hook::SrsPublish) => {
                srs::publish(server, publishing, &content).await
            }
            (MediaServer::Srs(server), Hook::SrsUnpublish) => {
                srs::unpublish(server, publishing, &content).await
            }
            (_, hook) => {
                let server = hook.server();
                tracing::warn!(
                    ?server,
                    "a hook of another kind of media server came (SLUICE_MEDIA_SERVER)"
                );
                nothing()
            }
        }
    }
}

impl Content {
    async fn read<B>(request: Request<B>) -> Result<Self, Answer>
    where
        B: Body<Error: std::error::Error + Send + Sync + 'static>,
    {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        match timeout(BODY, body).await {
            Ok(Ok(body)) => Ok(Self {
                query,
                body: body.to_bytes(),
            }),
            Ok(Err(_)) => Err(say(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body breaks off, or is too long",
            )),
            Err(_) => Err(say(StatusCode::REQUEST_TIMEOUT, "the body takes too long")),
        }
    }
}

fn nothing() -> Answer {
    say(StatusCode::NOT_FOUND, "there is nothing here")
}
