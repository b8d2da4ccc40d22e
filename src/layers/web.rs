//! Calls of browsers, which cannot speak gRPC itself: gRPC-Web, and CORS.

use std::{
    fmt::Display,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_TYPE, ORIGIN},
};
use http_body_util::Either;
use hyper::body::Bytes;
use parking_lot::Mutex;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{BoxError, Layer, Service, ServiceExt, util::future::MapResponseFuture};
use tower_http::cors::CorsLayer;

use crate::{
    domain::WebOrigin,
    telemetry::Throttle,
    transport::{GRPC_WEB_IS_OFF, log_grpc_web_is_off, set_security_headers, short_response},
};

/// The least time between two log lines about pages of other web sites.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The response headers that a page may read.
const EXPOSED_HEADERS: [&str; 4] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "x-request-id",
];

/// The request headers that a page may send.
const ALLOWED_HEADERS: [&str; 6] = [
    "authorization",
    "content-type",
    "grpc-timeout",
    "x-grpc-web",
    "x-request-id",
    "x-user-agent",
];

/// How long a browser may cache the answer to a preflight request.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// Accepts gRPC-Web calls from the pages of some web sites; without origins, none.
#[derive(Debug, Clone)]
pub(super) struct Web<S> {
    inner: S,
    page_calls: Option<Arc<PageCalls>>,
}

/// The treatment of calls from web pages.
#[derive(Debug)]
struct PageCalls {
    cors: CorsLayer,
    origins: Vec<HeaderValue>,
    unlisted: Mutex<Throttle>,
}

impl PageCalls {
    /// Logs a call from a page of another web site, whose browser will refuse the answer.
    fn log_unlisted<B>(&self, request: &Request<B>) {
        let origin = request.headers().get(ORIGIN);
        let Some(origin) = origin.filter(|origin| !self.origins.contains(origin)) else {
            return;
        };
        if let Some(times) = self.unlisted.lock().record() {
            tracing::warn!(
                ?origin,
                times,
                "a page called whose origin SLUICE_WEB_ORIGINS lacks"
            );
        }
    }
}

impl<S> Web<S> {
    /// Accepts calls from pages of these origins.
    pub fn new(inner: S, origins: &[WebOrigin]) -> Self {
        // Origins are ASCII.
        let header = |origin: &WebOrigin| HeaderValue::from_str(&origin.serialize()).ok();
        let origins: Vec<_> = origins.iter().filter_map(header).collect();
        let cors = CorsLayer::new()
            .allow_methods([Method::POST])
            .allow_headers(ALLOWED_HEADERS.map(HeaderName::from_static))
            .expose_headers(EXPOSED_HEADERS.map(HeaderName::from_static))
            .max_age(PREFLIGHT_MAX_AGE);
        Self {
            inner,
            page_calls: (!origins.is_empty()).then(|| {
                Arc::new(PageCalls {
                    cors: cors.allow_origin(origins.clone()),
                    origins,
                    unlisted: Mutex::new(Throttle::new(LOG_INTERVAL)),
                })
            }),
        }
    }
}

/// A request body: of gRPC unchanged, of gRPC-Web translated.
pub type TranslatedBody<B> = Either<B, Body>;

impl<S, B, R> Service<Request<B>> for Web<S>
where
    S: Service<Request<TranslatedBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError> + Display> + Send + 'static,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError> + Display> + Send + 'static,
{
    type Response = Response<Either<R, Body>>;
    type Error = S::Error;
    type Future = WebCall<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_from_page = is_from_page(&request);
        let Some(page_calls) = self.page_calls.as_ref().filter(|_| is_from_page) else {
            if is_from_page {
                let response = refusal(&request).map(Either::Right);
                return WebCall::Right(Box::pin(async move { Ok(response) }));
            }
            let wrap: WrapBody<R> = |response| response.map(Either::Left);
            let mut inner = (&mut self.inner).map_response(wrap);
            return WebCall::Left(inner.call(request.map(Either::Left)));
        };
        page_calls.log_unlisted(&request);
        // Calls the instance whose `poll_ready` was called, and leaves the clone.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let translated = inner.map_request(|request: Request<Body>| request.map(Either::Right));
        let mut page_service = page_calls.cors.layer(GrpcWebLayer::new().layer(translated));
        let call = page_service.call(request);
        WebCall::Right(Box::pin(async move {
            let mut response: Response<Body> = call.await?;
            set_security_headers(response.headers_mut());
            Ok(response.map(Either::Right))
        }))
    }
}

/// Wraps the response body of a gRPC call.
type WrapBody<R> = fn(Response<R>) -> Response<Either<R, Body>>;

/// The future of a gRPC call, or of a call from a page.
type WebCall<F, R, E> = tokio_util::either::Either<
    MapResponseFuture<F, WrapBody<R>>,
    Pin<Box<dyn Future<Output = Result<Response<Either<R, Body>>, E>> + Send>>,
>;

/// The answer to a page while gRPC-Web is off.
fn refusal<B>(request: &Request<B>) -> Response<Body> {
    let origin = request.headers().get(ORIGIN);
    log_grpc_web_is_off(origin.and_then(|origin| origin.to_str().ok()));
    let text = "text/plain; charset=utf-8";
    short_response(StatusCode::FORBIDDEN, text, GRPC_WEB_IS_OFF).map(Body::new)
}

/// Whether a request is not plain gRPC, and may come from a page.
fn is_from_page<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    let is_grpc_web = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc-web");
    request.version() != Version::HTTP_2
        || request.method() == Method::OPTIONS
        || content_type.is_some_and(is_grpc_web)
}
