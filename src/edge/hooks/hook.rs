use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use tokio::time::timeout;

use crate::{
    config::MediaServerKind, domain::Secret, edge::publisher::PublishError, random::sha256,
};

const MAX_BODY_BYTES: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A hook of a media server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// nginx-rtmp: a connection wants to publish.
    NginxPublish,
    /// nginx-rtmp: a publish has ended.
    NginxPublishDone,
    /// nginx-rtmp: a connection still publishes or plays.
    NginxUpdate,
    /// MediaMTX: a client wants to publish, to read, or to use the API.
    MtxAuth,
    /// MediaMTX: media of a source flows.
    MtxAvailable,
    /// MediaMTX: media of a source has stopped.
    MtxUnavailable,
    /// SRS: a connection wants to publish.
    SrsPublish,
    /// SRS: a publish has ended.
    SrsUnpublish,
}

/// The target of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// A hook, with the right secret.
    Hook(Hook),
    Liveness,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// The path does not exist.
    NotFound,
}

/// The hash of the secret that authenticates the media server.
#[derive(Debug, Clone)]
pub(super) struct SecretHash(Vec<u8>);

/// The query and the body of a hook.
#[derive(Debug)]
pub(super) struct HookContent {
    pub(super) query: String,
    pub(super) body: Bytes,
}

/// The response to a hook.
pub(super) type HookResponse = Response<Full<Bytes>>;

impl Hook {
    fn parse(server: &str, name: &str) -> Option<Self> {
        Some(match (server, name) {
            ("nginx-rtmp", "publish") => Self::NginxPublish,
            ("nginx-rtmp", "publish_done") => Self::NginxPublishDone,
            ("nginx-rtmp", "update") => Self::NginxUpdate,
            ("mediamtx", "auth") => Self::MtxAuth,
            ("mediamtx", "available") => Self::MtxAvailable,
            ("mediamtx", "unavailable") => Self::MtxUnavailable,
            ("srs", "publish") => Self::SrsPublish,
            ("srs", "unpublish") => Self::SrsUnpublish,
            _ => return None,
        })
    }

    /// The media server that has this hook.
    pub(super) fn server(self) -> MediaServerKind {
        match self {
            Self::NginxPublish | Self::NginxPublishDone | Self::NginxUpdate => {
                MediaServerKind::NginxRtmp
            }
            Self::MtxAuth | Self::MtxAvailable | Self::MtxUnavailable => MediaServerKind::MediaMtx,
            Self::SrsPublish | Self::SrsUnpublish => MediaServerKind::Srs,
        }
    }
}

impl Route {
    /// The target of a method and path. Without the secret, a hook that exists looks like
    /// one that does not.
    pub(super) fn parse(method: &Method, path: &str, secret: &SecretHash) -> Self {
        if path == "/livez" {
            return match *method {
                Method::GET | Method::HEAD => Self::Liveness,
                _ => Self::MethodNotAllowed,
            };
        }
        let mut segments = path.split('/').skip(1);
        let mut segment = || segments.next().unwrap_or_default();
        let (hooks, server, presented, name) = (segment(), segment(), segment(), segment());
        if hooks != "hooks" || !secret.matches(presented) || segments.next().is_some() {
            return Self::NotFound;
        }
        match Hook::parse(server, name) {
            Some(hook) if method == Method::POST => Self::Hook(hook),
            Some(_) => Self::MethodNotAllowed,
            None => Self::NotFound,
        }
    }
}

impl SecretHash {
    pub(super) fn new(secret: &Secret) -> Self {
        Self(sha256(secret.expose()))
    }

    /// A comparison of hashes: its duration reveals nothing of the secret.
    fn matches(&self, presented: &str) -> bool {
        sha256(presented) == self.0
    }
}

impl HookContent {
    /// Reads a request of at most 64 KiB within 5 seconds; otherwise the error response.
    pub(super) async fn read<B>(request: Request<B>) -> Result<Self, HookResponse>
    where
        B: Body<Error: std::error::Error + Send + Sync + 'static>,
    {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => Ok(Self {
                query,
                body: body.to_bytes(),
            }),
            Ok(Err(_)) => Err(text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is incomplete or too long",
            )),
            Err(_) => Err(text(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            )),
        }
    }
}

/// A response with a sentence of plain text.
pub(super) fn text(status: StatusCode, sentence: &'static str) -> HookResponse {
    let text = format!("{sentence}\n");
    respond(status, "text/plain; charset=utf-8", text.into())
}

/// A response with a JSON document.
pub(super) fn json(status: StatusCode, document: &serde_json::Value) -> HookResponse {
    respond(status, "application/json", document.to_string().into())
}

/// The response to a hook that is not allowed.
pub(super) fn forbidden(sentence: &'static str) -> HookResponse {
    text(StatusCode::FORBIDDEN, sentence)
}

/// The response to a publisher that must not publish.
pub(super) fn refused(error: PublishError) -> HookResponse {
    match error.is_decision() {
        true => forbidden(error.message()),
        false => text(StatusCode::SERVICE_UNAVAILABLE, error.message()),
    }
}

/// The response to a hook that cannot be parsed.
pub(super) fn malformed() -> HookResponse {
    text(StatusCode::BAD_REQUEST, "the hook is malformed")
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> HookResponse {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Hook, Route, SecretHash};
    use crate::domain::Secret;

    const SECRET: &str = "0123456789abcdef";

    fn route(method: Method, path: &str) -> Route {
        Route::parse(&method, path, &SecretHash::new(&Secret::new(SECRET)))
    }

    #[test]
    fn a_path_names_its_hook() {
        for (path, hook) in [
            ("nginx-rtmp/S/publish", Hook::NginxPublish),
            ("nginx-rtmp/S/publish_done", Hook::NginxPublishDone),
            ("nginx-rtmp/S/update", Hook::NginxUpdate),
            ("mediamtx/S/auth", Hook::MtxAuth),
            ("mediamtx/S/available", Hook::MtxAvailable),
            ("mediamtx/S/unavailable", Hook::MtxUnavailable),
            ("srs/S/publish", Hook::SrsPublish),
            ("srs/S/unpublish", Hook::SrsUnpublish),
        ] {
            let path = format!("/hooks/{}", path.replace('S', SECRET));
            assert_eq!(route(Method::POST, &path), Route::Hook(hook));
            assert_eq!(route(Method::GET, &path), Route::MethodNotAllowed);
        }
    }

    #[test]
    fn a_wrong_secret_looks_like_an_unknown_path() {
        for path in [
            "/hooks/nginx-rtmp/0123456789abcdeX/publish",
            "/hooks/nginx-rtmp/0123456789abcde/publish",
            "/hooks/nginx-rtmp//publish",
            "/hooks/nginx-rtmp/publish",
            "/hooks/nginx-rtmp/0123456789abcdef/unheard",
            "/hooks/other/0123456789abcdef/publish",
            "/hooks/nginx-rtmp/0123456789abcdef/publish/",
            "/hooks/nginx-rtmp/0123456789abcdef",
            "/other/nginx-rtmp/0123456789abcdef/publish",
            "/",
            "",
        ] {
            assert_eq!(route(Method::POST, path), Route::NotFound, "{path}");
            assert_eq!(route(Method::GET, path), Route::NotFound, "{path}");
        }
    }

    #[test]
    fn the_liveness_probe_needs_no_secret() {
        assert_eq!(route(Method::GET, "/livez"), Route::Liveness);
        assert_eq!(route(Method::POST, "/livez"), Route::MethodNotAllowed);
    }
}
