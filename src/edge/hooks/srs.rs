use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::hook::{HookContent, HookResponse, json, malformed, outcome_of};
use crate::{
    edge::{publisher::ConnectionId, publishing::Publishers, servers::Srs},
    proto::v1::IngestProtocol,
};

/// The fields that both hooks of SRS have.
#[derive(Deserialize)]
struct SrsFields {
    action: String,
    service_id: String,
    client_id: String,
    #[serde(default)]
    ip: String,
    app: String,
    stream: String,
    #[serde(rename = "tcUrl", default)]
    tc_url: String,
}

impl SrsFields {
    /// Parses a hook of this action; `None` for any other.
    fn parse(content: &HookContent, action: &str) -> Option<Self> {
        let fields: Self = serde_json::from_slice(&content.body).ok()?;
        let ids = [&fields.service_id, &fields.client_id];
        let are_valid = ids.iter().all(|id| ConnectionId::parse(id).is_some());
        (fields.action == action && are_valid).then_some(fields)
    }

    fn protocol(&self) -> IngestProtocol {
        match self.tc_url.split_once("://").map(|(scheme, _)| scheme) {
            Some("rtmp") => IngestProtocol::Rtmp,
            Some("rtmps") => IngestProtocol::Rtmps,
            Some("srt") => IngestProtocol::Srt,
            Some("webrtc") => IngestProtocol::Whip,
            _ => IngestProtocol::Unspecified,
        }
    }
}

/// A connection wants to publish.
pub(super) async fn publish(
    server: &Srs,
    publishers: &Publishers,
    content: &HookContent,
) -> HookResponse {
    let fields = SrsFields::parse(content, "on_publish");
    let Some(fields) = fields.filter(|fields| !fields.stream.is_empty()) else {
        return malformed();
    };
    let Some(id) = server.begin(&fields.service_id, &fields.client_id) else {
        return malformed();
    };
    let protocol = fields.protocol();
    let request = server.publish_request(id, &fields.app, &fields.stream, &fields.ip, protocol);

    match publishers.begin_exclusive(request).await {
        Ok(()) => json(StatusCode::OK, &json!({"code": 0})),
        Err(error) => {
            let document = json!({"code": 1, "msg": error.message()});
            let mut response = json(StatusCode::OK, &document);
            response.extensions_mut().insert(outcome_of(error));
            response
        }
    }
}

/// A publish has ended. SRS accepts no answer but success.
pub(super) fn unpublish(
    server: &Srs,
    publishers: &Publishers,
    content: &HookContent,
) -> HookResponse {
    let Some(fields) = SrsFields::parse(content, "on_unpublish") else {
        return malformed();
    };
    if let Some(id) = server.end(&fields.service_id, &fields.client_id) {
        publishers.end(&id);
    }
    json(StatusCode::OK, &json!({"code": 0}))
}
