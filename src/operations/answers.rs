use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};

use super::Observed;
use crate::{
    readiness::Health,
    telemetry::{self, metrics},
};

/// The longest filter, in bytes.
const MAX_FILTER: usize = 4096;

/// The content type of the text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The content type of everything else.
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers one request.
pub(super) async fn answer<B>(observed: &Observed, request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Error: std::error::Error + Send + Sync + 'static>,
{
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    match (request.uri().path(), is_read) {
        ("/metrics", true) => {
            observed.measure().await;
            respond(StatusCode::OK, METRICS, metrics::text())
        }
        ("/livez", true) => say(StatusCode::OK, "alive"),
        ("/readyz", true) => ready(observed.health()),
        ("/log", true) => match telemetry::log_filter() {
            Some(filter) => say(StatusCode::OK, &filter.text()),
            None => say(StatusCode::NOT_FOUND, "there is no log"),
        },
        ("/log", false) if request.method() == Method::PUT => set_filter(request).await,
        ("/metrics" | "/livez" | "/readyz" | "/log", false) => {
            say(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed")
        }
        _ => say(
            StatusCode::NOT_FOUND,
            "there are /metrics, /livez, /readyz and /log",
        ),
    }
}

fn ready(health: Health) -> Response<Full<Bytes>> {
    let status = match health {
        Health::Serving => StatusCode::OK,
        Health::Starting | Health::DatabaseAway | Health::Draining => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    say(status, health.as_str())
}

async fn set_filter<B>(request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Error: std::error::Error + Send + Sync + 'static>,
{
    let body = Limited::new(request.into_body(), MAX_FILTER)
        .collect()
        .await;
    let Ok(body) = body else {
        return say(StatusCode::PAYLOAD_TOO_LARGE, "the filter is too long");
    };
    let Some(filter) = telemetry::log_filter() else {
        return say(StatusCode::NOT_FOUND, "there is no log");
    };
    let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
    if text.is_empty() {
        return say(StatusCode::BAD_REQUEST, "there is no filter in the request");
    }
    match filter.set(&text) {
        Ok(()) => {
            tracing::warn!(filter = text, "what is logged was changed");
            say(StatusCode::OK, &text)
        }
        Err(fault) => say(StatusCode::BAD_REQUEST, &fault.to_string()),
    }
}

fn say(status: StatusCode, sentence: &str) -> Response<Full<Bytes>> {
    respond(status, TEXT, format!("{sentence}\n"))
}

fn respond(status: StatusCode, content: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let content = header::HeaderValue::from_static(content);
    response.headers_mut().insert(header::CONTENT_TYPE, content);
    response
}
