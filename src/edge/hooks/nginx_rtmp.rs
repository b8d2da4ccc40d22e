use http::{HeaderValue, StatusCode, header};

use super::{
    form::Form,
    hook::{HookContent, HookResponse, forbidden, malformed, refused, text},
};
use crate::edge::{
    publishing::Publishers,
    servers::{NginxRtmp, PublicName, PublishLookup},
};

/// Fields that nginx-rtmp writes into hooks other than that of a publish.
const UPDATE_FIELDS: [&str; 3] = ["time", "timestamp", "epoch"];

/// The fields that all hooks of nginx-rtmp have.
struct NginxFields<'a> {
    application: &'a str,
    client: u64,
    name: &'a str,
    address: &'a str,
}

impl<'a> NginxFields<'a> {
    fn parse(form: &'a Form) -> Option<Self> {
        let fields = Self {
            application: form.get("app"),
            client: form.get("clientid").parse().ok()?,
            name: form.get("name"),
            address: form.get("addr"),
        };
        (!fields.application.is_empty() && !fields.name.is_empty()).then_some(fields)
    }
}

/// A connection wants to publish. An accepted stream gets a public name, to which nginx
/// renames it: the stream key stays hidden, and names of two publishers never collide.
pub(super) async fn publish(
    server: &NginxRtmp,
    publishers: &Publishers,
    content: &HookContent,
) -> HookResponse {
    let form = Form::parse(&content.body);
    // A forged update field would occur twice in each later update.
    if form.is_forged() || UPDATE_FIELDS.iter().any(|name| !form.get(name).is_empty()) {
        return forbidden("the publisher sets a field that nginx-rtmp reserves");
    }
    let fields = NginxFields::parse(&form).filter(|_| form.get("call") == "publish");
    let Some(fields) = fields else {
        return malformed();
    };
    let Some(publish) = server.begin(fields.application, fields.client) else {
        return forbidden("the connection publishes already");
    };
    let request = server.publish_request(&publish, fields.application, fields.name, fields.address);

    match (publishers.begin(&request).await, &publish.name) {
        (Ok(()), Some(name)) => accepted(name),
        (Ok(()), None) => text(StatusCode::OK, "accepted"),
        (Err(error), _) => {
            server.connections.refuse(&publish);
            refused(error)
        }
    }
}

/// A connection still publishes; a refusal disconnects it. Players are ignored.
pub(super) async fn update(
    server: &NginxRtmp,
    publishers: &Publishers,
    content: &HookContent,
) -> HookResponse {
    let form = Form::parse(&content.body);
    match form.get("call") {
        "update_publish" => {}
        "update_play" => return text(StatusCode::OK, "players are ignored"),
        _ => return malformed(),
    }
    if form.is_forged() {
        return forbidden("a field occurs twice");
    }
    let Some(fields) = NginxFields::parse(&form) else {
        return malformed();
    };
    let publish = match server.find(fields.application, fields.client).await {
        PublishLookup::Found(publish) => publish,
        // Its media could not be read, and the control module could not disconnect it.
        PublishLookup::NotFound => return forbidden("nginx does not list the connection"),
        PublishLookup::Unavailable => return text(StatusCode::OK, "the connection is not known"),
    };
    let request = server.publish_request(&publish, fields.application, fields.name, fields.address);

    match publishers.update(&request) {
        Ok(()) => text(StatusCode::OK, "continue"),
        Err(error) => refused(error),
    }
}

/// A publish has ended. Forged fields are allowed: they follow the real ones, and must not
/// keep a publish live.
pub(super) fn publish_done(
    server: &NginxRtmp,
    publishers: &Publishers,
    content: &HookContent,
) -> HookResponse {
    let form = Form::parse(&content.body);
    let fields = NginxFields::parse(&form).filter(|_| form.get("call") == "publish_done");
    let Some(fields) = fields else {
        return malformed();
    };
    if let Some(publish) = server.connections.end(fields.client) {
        publishers.end(&publish.id);
    }
    text(StatusCode::OK, "received")
}

fn accepted(name: &PublicName) -> HookResponse {
    let mut response = text(StatusCode::FOUND, "accepted");
    if let Ok(name) = HeaderValue::from_str(name.as_str()) {
        response.headers_mut().insert(header::LOCATION, name);
    }
    response
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::accepted;
    use crate::edge::servers::PublicName;

    #[test]
    fn an_accepted_stream_is_renamed() {
        let name = PublicName::generate();
        let response = accepted(&name);
        assert_eq!(response.status(), 302);
        assert_eq!(response.headers()[header::LOCATION], name.as_str());
    }
}
