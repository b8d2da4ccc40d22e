use std::net::IpAddr;

use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    form::Form,
    hook::{HookContent, HookResponse, forbidden, malformed, refused, text},
};
use crate::edge::{publisher::ConnectionId, publishing::Publishers, servers::MediaMtx};

/// The fields of an auth hook. Its credentials are ignored: the stream key is in the path.
#[derive(Deserialize)]
struct AuthFields {
    ip: String,
    action: String,
    path: String,
    #[serde(default)]
    protocol: String,
    id: Option<String>,
}

impl AuthFields {
    /// Whether the client is on this machine, as relays and monitoring are.
    fn is_local(&self) -> bool {
        let address = self.ip.parse::<IpAddr>();
        address.is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

/// Allows clients to publish with a stream key over a known protocol, and any other action
/// from this machine.
pub(super) async fn auth(
    server: &MediaMtx,
    publishers: &Publishers,
    content: &HookContent,
) -> HookResponse {
    let Ok(fields) = serde_json::from_slice::<AuthFields>(&content.body) else {
        return malformed();
    };
    match fields.action.as_str() {
        "publish" => publish(server, publishers, &fields).await,
        "read" | "playback" | "api" | "metrics" | "pprof" if fields.is_local() => {
            text(StatusCode::OK, "allowed on this machine")
        }
        _ => forbidden("allowed on this machine only"),
    }
}

async fn publish(server: &MediaMtx, publishers: &Publishers, fields: &AuthFields) -> HookResponse {
    let id = fields.id.as_deref().and_then(connection_id);
    let Some(protocol) = MediaMtx::ingest_protocol(&fields.protocol) else {
        tracing::warn!(
            protocol = ?fields.protocol,
            "refused a publisher, because the edge cannot list or disconnect its protocol: \
             disable that protocol in MediaMTX"
        );
        return forbidden("the edge does not support publishers of this protocol");
    };
    let request = id.and_then(|id| server.publish_request(id, &fields.path, &fields.ip, protocol));
    let Some(request) = request else {
        return forbidden("publishing needs a stream key and a connection id");
    };

    match publishers.begin(&request).await {
        Ok(()) => text(StatusCode::OK, "accepted"),
        Err(error) => refused(error),
    }
}

/// Media of a source flows, or has stopped: `apply` gets its connection.
pub(super) fn source_changed(
    content: &HookContent,
    apply: impl FnOnce(&ConnectionId),
) -> HookResponse {
    if let Some(id) = source_id(content) {
        apply(&id);
    }
    text(StatusCode::OK, "received")
}

/// The connection of a source; `None` if the server itself reads it from elsewhere.
fn source_id(content: &HookContent) -> Option<ConnectionId> {
    let body = Form::parse(&content.body);
    let query = Form::parse(content.query.as_bytes());
    let ids = [body.get("source_id"), query.get("source_id")];
    ids.into_iter().find_map(connection_id)
}

/// MediaMTX identifies connections by UUIDs.
fn connection_id(text: &str) -> Option<ConnectionId> {
    let id = Uuid::parse_str(text).ok()?;
    ConnectionId::parse(&id.to_string())
}
