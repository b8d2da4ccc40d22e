use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::time::timeout;

use crate::{
    config::MediaServerKind, edge::publisher::PublishError, random::sha256,
    telemetry::metrics::HookOutcome, transport::short_response,
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

/// The query and the body of a hook.
#[derive(Debug)]
pub(super) struct HookContent {
    pub(super) query: String,
    pub(super) body: Bytes,
}

/// The response to a hook.
pub(super) type HookResponse = Response<Full<Bytes>>;

impl Hook {
    /// The hook with this path; `None` if there is none, or its secret has another SHA-256.
    pub(super) fn of_path(path: &str, secret_hash: &[u8]) -> Option<Self> {
        let segments: Vec<_> = path.split('/').collect();
        let ["", "hooks", server, presented, name] = segments[..] else {
            return None;
        };
        // A comparison of hashes: its duration reveals nothing of the secret.
        if sha256(presented) != secret_hash {
            return None;
        }
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

    /// Its name in metrics: the last part of its path.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NginxPublish | Self::SrsPublish => "publish",
            Self::NginxPublishDone => "publish_done",
            Self::NginxUpdate => "update",
            Self::MtxAuth => "auth",
            Self::MtxAvailable => "available",
            Self::MtxUnavailable => "unavailable",
            Self::SrsUnpublish => "unpublish",
        }
    }

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

impl HookContent {
    /// Reads a request of at most 64 KiB within 5 seconds; otherwise the error response.
    pub(super) async fn read(request: Request<Incoming>) -> Result<Self, HookResponse> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => Ok(Self {
                query,
                body: body.to_bytes(),
            }),
            Ok(Err(_)) => {
                let sentence = "the body is incomplete or too long";
                Err(text(StatusCode::PAYLOAD_TOO_LARGE, sentence))
            }
            Err(_) => {
                let sentence = "the body did not arrive in time";
                Err(text(StatusCode::REQUEST_TIMEOUT, sentence))
            }
        }
    }
}

/// A response with a sentence of plain text.
pub(super) fn text(status: StatusCode, sentence: &'static str) -> HookResponse {
    let text = format!("{sentence}\n");
    short_response(status, "text/plain; charset=utf-8", text)
}

pub(super) fn json(status: StatusCode, document: &serde_json::Value) -> HookResponse {
    short_response(status, "application/json", document.to_string())
}

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

/// The outcome of the hook of a publisher that must not publish.
pub(super) fn outcome_of(error: PublishError) -> HookOutcome {
    match error.is_decision() {
        true => HookOutcome::Refused,
        false => HookOutcome::Unavailable,
    }
}

/// The outcome that a response tells the media server. The status does not show a refusal to
/// SRS, whose response has it as an extension.
pub(super) fn outcome(response: &HookResponse) -> HookOutcome {
    let status = response.status();
    if let Some(outcome) = response.extensions().get() {
        return *outcome;
    }
    match status {
        StatusCode::FORBIDDEN => HookOutcome::Refused,
        status if status.is_server_error() => HookOutcome::Unavailable,
        status if status.is_client_error() => HookOutcome::Invalid,
        _ => HookOutcome::Accepted,
    }
}

/// The response to a hook that cannot be parsed.
pub(super) fn malformed() -> HookResponse {
    text(StatusCode::BAD_REQUEST, "the hook is malformed")
}

#[cfg(test)]
mod tests {
    use super::{Hook, refused, sha256};
    use crate::{
        edge::publisher::PublishError,
        proto::v1::{EndReason, ErrorReason},
    };

    fn hook(path: &str) -> Option<Hook> {
        Hook::of_path(path, &sha256("0123456789abcdef"))
    }

    #[test]
    fn a_path_names_its_hook() {
        for (path, expected) in [
            ("nginx-rtmp/SECRET/publish", Hook::NginxPublish),
            ("nginx-rtmp/SECRET/publish_done", Hook::NginxPublishDone),
            ("nginx-rtmp/SECRET/update", Hook::NginxUpdate),
            ("mediamtx/SECRET/auth", Hook::MtxAuth),
            ("mediamtx/SECRET/available", Hook::MtxAvailable),
            ("mediamtx/SECRET/unavailable", Hook::MtxUnavailable),
            ("srs/SECRET/publish", Hook::SrsPublish),
            ("srs/SECRET/unpublish", Hook::SrsUnpublish),
        ] {
            let path = format!("/hooks/{}", path.replace("SECRET", "0123456789abcdef"));
            assert_eq!(hook(&path), Some(expected));
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
            assert_eq!(hook(path), None, "{path}");
        }
    }

    #[test]
    fn a_refusal_and_an_unreachable_control_plane_have_different_codes() {
        for (error, status) in [
            (PublishError::Refused(ErrorReason::StreamKeyInvalid), 403),
            (PublishError::Stopped(EndReason::StoppedByOwner), 403),
            (PublishError::Unreachable, 503),
            (PublishError::GraceExpired, 503),
        ] {
            assert_eq!(refused(error).status(), status, "{error:?}");
        }
    }
}
