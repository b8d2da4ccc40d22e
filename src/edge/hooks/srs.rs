use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{
    answer::{Answer, json, say},
    answering::Content,
    refusal::sentence,
};
use crate::{
    edge::{connection::ConnectionId, publishing::Publishing, servers::Srs},
    proto::v1::IngestProtocol,
};

/// What both hooks of SRS tell.
#[derive(Deserialize)]
struct Told {
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

impl Told {
    /// Reads a hook of this action; one of another does not belong here.
    fn of(content: &Content, action: &str) -> Option<Self> {
        let told: Self = serde_json::from_slice(&content.body).ok()?;
        let names = [&told.service_id, &told.client_id];
        let are_names = names.iter().all(|name| ConnectionId::parse(name).is_some());
        (told.action == action && are_names).then_some(told)
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

/// Somebody wants to publish.
pub(super) async fn publish(server: &Srs, publishing: &Publishing, content: &Content) -> Answer {
    let told = Told::of(content, "on_publish").filter(|told| !told.stream.is_empty());
    let Some(told) = told else {
        return not_understood();
    };
    let Some(id) = server.begin(&told.service_id, &told.client_id) else {
        return not_understood();
    };
    let offer = server.offer(id, &told.app, &told.stream, &told.ip, told.protocol());

    match publishing.begin_alone(offer).await {
        Ok(()) => json(StatusCode::OK, &json!({"code": 0})),
        Err(why) => json(StatusCode::OK, &json!({"code": 1, "msg": sentence(why)})),
    }
}

/// Somebody has stopped. SRS takes no other answer than a yes.
pub(super) async fn unpublish(server: &Srs, publishing: &Publishing, content: &Content) -> Answer {
    let Some(told) = Told::of(content, "on_unpublish") else {
        return not_understood();
    };
    if let Some(id) = server.end(&told.service_id, &told.client_id) {
        publishing.end(&id).await;
    }
    json(StatusCode::OK, &json!({"code": 0}))
}

fn not_understood() -> Answer {
    say(StatusCode::BAD_REQUEST, "the hook is not understood")
}
