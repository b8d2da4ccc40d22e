use http::{HeaderValue, StatusCode, header};

use super::{
    answer::{Answer, say},
    answering::Content,
    form::Form,
    refusal::{is_decided, sentence},
};
use crate::edge::{
    connection::Refused,
    publishing::Publishing,
    servers::{Found, NginxRtmp, PublicName},
};

/// Fields that nginx-rtmp writes into other hooks than that of a publish.
const UPDATES: [&str; 3] = ["time", "timestamp", "epoch"];

/// What all hooks of nginx-rtmp tell.
struct Told<'a> {
    application: &'a str,
    client: u64,
    name: &'a str,
    address: &'a str,
}

impl<'a> Told<'a> {
    fn of(form: &'a Form) -> Option<Self> {
        let told = Self {
            application: form.get("app"),
            client: form.get("clientid").parse().ok()?,
            name: form.get("name"),
            address: form.get("addr"),
        };
        (!told.application.is_empty() && !told.name.is_empty()).then_some(told)
    }
}

/// Somebody wants to publish. Who is accepted gets a public name: nginx renames the stream
/// to it, so that the key stands nowhere, and no two publishers collide there.
pub(super) async fn publish(
    server: &NginxRtmp,
    publishing: &Publishing,
    content: &Content,
) -> Answer {
    let form = Form::parse(&content.body);
    // With the fields of an update its updates would have them twice.
    if form.is_forged() || UPDATES.iter().any(|name| !form.get(name).is_empty()) {
        return say(
            StatusCode::FORBIDDEN,
            "a field is there that nginx writes itself",
        );
    }
    let Some(told) = Told::of(&form).filter(|_| form.get("call") == "publish") else {
        return not_understood();
    };
    let Some(published) = server.begin(told.application, told.client) else {
        return say(StatusCode::FORBIDDEN, "the connection publishes already");
    };
    let offer = server.offer(&published, told.application, told.name, told.address);

    match (publishing.begin(offer).await, &published.name) {
        (Ok(()), Some(name)) => accepted(name),
        (Ok(()), None) => say(StatusCode::OK, "accepted"),
        (Err(why), _) => {
            server.refuse(&published);
            refused(why)
        }
    }
}

/// Somebody still publishes; a refusal disconnects. Who plays is left alone.
pub(super) async fn update(
    server: &NginxRtmp,
    publishing: &Publishing,
    content: &Content,
) -> Answer {
    let form = Form::parse(&content.body);
    match form.get("call") {
        "update_publish" => {}
        "update_play" => return say(StatusCode::OK, "players are left alone"),
        _ => return not_understood(),
    }
    if form.is_forged() {
        return say(StatusCode::FORBIDDEN, "a field is there twice");
    }
    let Some(told) = Told::of(&form) else {
        return not_understood();
    };
    let published = match server.find(told.application, told.client).await {
        Found::Publishing(published) => published,
        // Nobody could read its media, nor disconnect it otherwise.
        Found::NotThere => return say(StatusCode::FORBIDDEN, "nginx does not show it any more"),
        Found::Unasked => return say(StatusCode::OK, "the connection is not known"),
    };
    let offer = server.offer(&published, told.application, told.name, told.address);

    match publishing.update(&offer) {
        Ok(()) => say(StatusCode::OK, "go on"),
        Err(why) => refused(why),
    }
}

/// Somebody has stopped. Forged fields come after those that count, and keep nobody live.
pub(super) async fn publish_done(
    server: &NginxRtmp,
    publishing: &Publishing,
    content: &Content,
) -> Answer {
    let form = Form::parse(&content.body);
    let Some(told) = Told::of(&form).filter(|_| form.get("call") == "publish_done") else {
        return not_understood();
    };
    if let Some(published) = server.end(told.client) {
        publishing.end(&published.id).await;
    }
    say(StatusCode::OK, "taken")
}

fn accepted(name: &PublicName) -> Answer {
    let mut answer = say(StatusCode::FOUND, "accepted");
    if let Ok(name) = HeaderValue::from_str(name.as_str()) {
        answer.headers_mut().insert(header::LOCATION, name);
    }
    answer
}

fn refused(why: Refused) -> Answer {
    let status = match is_decided(why) {
        true => StatusCode::FORBIDDEN,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    say(status, sentence(why))
}

fn not_understood() -> Answer {
    say(StatusCode::BAD_REQUEST, "the hook is not understood")
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::{accepted, refused};
    use crate::{
        edge::{connection::Refused, servers::PublicName},
        proto::v1::{EndReason, ErrorReason},
    };

    #[test]
    fn who_is_accepted_is_renamed() {
        let name = PublicName::generate();
        let answer = accepted(&name);
        assert_eq!(answer.status(), 302);
        assert_eq!(answer.headers()[header::LOCATION], name.as_str());
    }

    #[test]
    fn a_refusal_is_told_from_silence_of_the_control_plane() {
        for (why, status) in [
            (Refused::Answered(ErrorReason::StreamKeyInvalid), 403),
            (Refused::Stopped(EndReason::StoppedByOwner), 403),
            (Refused::Away, 503),
            (Refused::GraceOver, 503),
        ] {
            assert_eq!(refused(why).status(), status, "{why:?}");
        }
    }
}
