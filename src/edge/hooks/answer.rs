use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;

/// What is answered to a hook.
pub(super) type Answer = Response<Full<Bytes>>;

/// A sentence for people.
pub(super) fn say(status: StatusCode, sentence: &'static str) -> Answer {
    let text = format!("{sentence}\n");
    respond(status, "text/plain; charset=utf-8", text.into())
}

/// A document for programs.
pub(super) fn json(status: StatusCode, document: &serde_json::Value) -> Answer {
    respond(status, "application/json", document.to_string().into())
}

fn respond(status: StatusCode, content: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let content = HeaderValue::from_static(content);
    answer.headers_mut().insert(header::CONTENT_TYPE, content);
    answer
}
