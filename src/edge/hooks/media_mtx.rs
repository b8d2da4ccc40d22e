use std::net::IpAddr;

use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    answer::{Answer, say},
    answering::Content,
    form::Form,
    refusal::{is_decided, sentence},
};
use crate::{
    edge::{connection::ConnectionId, publishing::Publishing, servers::MediaMtx},
    proto::v1::IngestProtocol,
};

/// Who wants to do what. Credentials are not read: the key in the path is what counts.
#[derive(Deserialize)]
struct Asked {
    ip: String,
    action: String,
    path: String,
    #[serde(default)]
    protocol: String,
    id: Option<String>,
}

impl Asked {
    /// Whether it comes from this machine, where relays read and programs watch over the server.
    fn is_local(&self) -> bool {
        let address = self.ip.parse::<IpAddr>();
        address.is_ok_and(|address| address.to_canonical().is_loopback())
    }

    fn protocol(&self) -> IngestProtocol {
        match self.protocol.as_str() {
            "rtmp" => IngestProtocol::Rtmp,
            "rtmps" => IngestProtocol::Rtmps,
            "srt" => IngestProtocol::Srt,
            "webrtc" => IngestProtocol::Whip,
            "rtsp" | "rtsps" => IngestProtocol::Rtsp,
            _ => IngestProtocol::Unspecified,
        }
    }
}

/// Somebody wants to do something: to publish with a key, or anything from this machine.
pub(super) async fn auth(server: &MediaMtx, publishing: &Publishing, content: &Content) -> Answer {
    let Ok(asked) = serde_json::from_slice::<Asked>(&content.body) else {
        return say(StatusCode::BAD_REQUEST, "the hook is not understood");
    };
    match asked.action.as_str() {
        "publish" => publish(server, publishing, &asked).await,
        "read" | "playback" | "api" | "metrics" | "pprof" if asked.is_local() => {
            say(StatusCode::OK, "allowed on this machine")
        }
        _ => say(StatusCode::FORBIDDEN, "allowed on this machine only"),
    }
}

async fn publish(server: &MediaMtx, publishing: &Publishing, asked: &Asked) -> Answer {
    let id = asked.id.as_deref().and_then(connection_id);
    let offer = id.and_then(|id| server.offer(id, &asked.path, &asked.ip, asked.protocol()));
    let Some(offer) = offer else {
        return say(
            StatusCode::FORBIDDEN,
            "without a stream key and an id nobody publishes",
        );
    };

    match publishing.begin(offer).await {
        Ok(()) => say(StatusCode::OK, "accepted"),
        Err(why) if is_decided(why) => say(StatusCode::FORBIDDEN, sentence(why)),
        Err(why) => say(StatusCode::SERVICE_UNAVAILABLE, sentence(why)),
    }
}

/// A source's media flows.
pub(super) async fn available(publishing: &Publishing, content: &Content) -> Answer {
    if let Some(id) = source(content) {
        publishing.media(&id).await;
    }
    say(StatusCode::OK, "taken")
}

/// A source is gone.
pub(super) async fn unavailable(publishing: &Publishing, content: &Content) -> Answer {
    if let Some(id) = source(content) {
        publishing.end(&id).await;
    }
    say(StatusCode::OK, "taken")
}

/// Whose media it is; `None` if nobody publishes it, but the server reads it from elsewhere.
fn source(content: &Content) -> Option<ConnectionId> {
    let (body, query) = (
        Form::parse(&content.body),
        Form::parse(content.query.as_bytes()),
    );
    let id = [body.get("source_id"), query.get("source_id")];
    id.into_iter().find_map(connection_id)
}

/// Connections of MediaMTX are called by a UUID.
fn connection_id(text: &str) -> Option<ConnectionId> {
    let id = Uuid::parse_str(text).ok()?;
    ConnectionId::parse(&id.to_string())
}
