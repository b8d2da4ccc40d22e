use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;

/// The response to a hook.
pub(super) type HookResponse = Response<Full<Bytes>>;

/// A response with a sentence of plain text.
pub(super) fn text(status: StatusCode, sentence: &'static str) -> HookResponse {
    let text = format!("{sentence}\n");
    respond(status, "text/plain; charset=utf-8", text.into())
}

/// A response with a JSON document.
pub(super) fn json(status: StatusCode, document: &serde_json::Value) -> HookResponse {
    respond(status, "application/json", document.to_string().into())
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
