//! Calls of browsers, which cannot speak gRPC itself: gRPC-Web, and what browsers ask
//! before they let a page call elsewhere (CORS).

use std::{
    fmt::Display,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, Request, Response, Version, header::CONTENT_TYPE};
use http_body_util::Either;
use hyper::body::Bytes;
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_http::cors::CorsLayer;

use crate::transport::WebOrigin;

/// What a page may read of an answer, beside its body.
const EXPOSED: [&str; 4] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "x-request-id",
];

/// What a page may send.
const ALLOWED: [&str; 6] = [
    "authorization",
    "content-type",
    "grpc-timeout",
    "x-grpc-web",
    "x-request-id",
    "x-user-agent",
];

/// How long a browser may remember what it may do.
const REMEMBERED: Duration = Duration::from_secs(2 * 60 * 60);

/// Takes calls of gRPC-Web from the pages of some web sites. Without any it takes none.
#[derive(Debug, Clone)]
pub struct WebLayer {
    cors: Option<Arc<CorsLayer>>,
}

impl WebLayer {
    /// Takes calls from pages of these origins.
    pub fn new(origins: &[WebOrigin]) -> Self {
        let origins: Vec<_> = origins
            .iter()
            .map(|origin| origin.header().clone())
            .collect();
        let cors = CorsLayer::new()
            .allow_methods([Method::POST])
            .allow_headers(ALLOWED.map(HeaderName::from_static))
            .expose_headers(EXPOSED.map(HeaderName::from_static))
            .max_age(REMEMBERED);
        Self {
            cors: (!origins.is_empty()).then(|| cors.allow_origin(origins).into()),
        }
    }
}

/// The body of a request: of gRPC as it came, of gRPC-Web translated.
pub type RequestBody<B> = Either<B, Body>;

/// See [`WebLayer`].
#[derive(Debug, Clone)]
pub struct Web<S> {
    inner: S,
    cors: Option<Arc<CorsLayer>>,
}

impl<S> Layer<S> for WebLayer {
    type Service = Web<S>;

    fn layer(&self, inner: S) -> Web<S> {
        let cors = self.cors.clone();
        Web { inner, cors }
    }
}

impl<S, B, R> Service<Request<B>> for Web<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError> + Display> + Send + 'static,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError> + Display> + Send + 'static,
{
    type Response = Response<Either<R, Body>>;
    type Error = S::Error;
    type Future = WebCall<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let cors = self.cors.as_ref().filter(|_| is_of_a_page(&request));
        let Some(cors) = cors else {
            return WebCall::Grpc {
                call: self.inner.call(request.map(Either::Left)),
            };
        };
        let other = self.inner.clone();
        // It is the one that was asked whether it is ready.
        let inner = mem::replace(&mut self.inner, other);
        let translated = inner.map_request(|request: Request<Body>| request.map(Either::Right));
        let mut pages = cors.layer(GrpcWebLayer::new().layer(translated));
        WebCall::Page {
            call: Box::pin(pages.call(request)),
        }
    }
}

/// What is not gRPC, but may be of a browser.
fn is_of_a_page<B>(request: &Request<B>) -> bool {
    let content = request.headers().get(CONTENT_TYPE);
    let is_web = |content: &HeaderValue| content.as_bytes().starts_with(b"application/grpc-web");
    request.version() != Version::HTTP_2
        || request.method() == Method::OPTIONS
        || content.is_some_and(is_web)
}

/// What comes of a call of a page.
type PageAnswer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

pin_project! {
    /// The future of a call, of a page or not.
    #[project = WebCallProjection]
    pub enum WebCall<F, E> {
        /// Of gRPC.
        Grpc { #[pin] call: F },
        /// Of gRPC-Web.
        Page { call: PageAnswer<E> },
    }
}

impl<F, R, E> Future for WebCall<F, E>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R, Body>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project() {
            WebCallProjection::Grpc { call } => {
                ready!(call.poll(cx)).map(|response| response.map(Either::Left))
            }
            WebCallProjection::Page { call } => {
                ready!(call.as_mut().poll(cx)).map(|response| response.map(Either::Right))
            }
        })
    }
}
