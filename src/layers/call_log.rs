//! One log line a call, and the id that ties together what is logged in between.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{HeaderMap, HeaderValue, Request, Response, uri::PathAndQuery};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Code;
use tower::{Layer, Service};
use tracing::Span;
use uuid::Uuid;

/// The header that names a call; made if the caller sends none, and echoed.
const REQUEST_ID: &str = "x-request-id";

/// Wraps a service in a span a call, and logs each call when it is over: with
/// its code and its duration in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallLogLayer;

/// See [`CallLogLayer`].
#[derive(Debug, Clone)]
pub struct CallLog<S> {
    inner: S,
}

impl<S> Layer<S> for CallLogLayer {
    type Service = CallLog<S>;

    fn layer(&self, inner: S) -> CallLog<S> {
        CallLog { inner }
    }
}

impl<S, B, R> Service<Request<B>> for CallLog<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<LoggedBody<R>>;
    type Error = S::Error;
    type Future = LoggedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let request_id = request_id(request.headers());
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let span = tracing::info_span!(
            "call",
            method = path.path().trim_start_matches('/'),
            request_id = request_id.to_str().unwrap_or_default(),
            caller = tracing::field::Empty,
        );
        let call = Call {
            span: span.clone(),
            begun: Instant::now(),
            code: None,
            is_ours: path.path().starts_with("/sluice."),
        };
        // For the interceptor, to which tonic does not show the path.
        request.extensions_mut().insert(path);

        let inner = span.in_scope(|| self.inner.call(request));
        LoggedCall {
            inner,
            call: Some(call),
            request_id,
        }
    }
}

/// A call that is not over; logs it when dropped.
struct Call {
    span: Span,
    begun: Instant,
    code: Option<Code>,
    is_ours: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        let duration_ms = (self.begun.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        // A caller that goes away leaves no code: that is what CANCELLED means.
        let code = format!("{:?}", self.code.unwrap_or(Code::Cancelled));
        self.span.in_scope(|| match self.is_ours {
            true => tracing::info!(code, duration_ms, "call"),
            // Health checks and reflection would drown the rest.
            false => tracing::debug!(code, duration_ms, "call"),
        });
    }
}

pin_project! {
    /// The future of a logged call.
    pub struct LoggedCall<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
        request_id: HeaderValue,
    }
}

impl<F, R, E> Future for LoggedCall<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<LoggedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let span = this
            .call
            .as_ref()
            .map_or_else(Span::none, |call| call.span.clone());
        let mut response = ready!(span.in_scope(|| this.inner.poll(cx)))?;

        response
            .headers_mut()
            .insert(REQUEST_ID, this.request_id.clone());
        let mut call = this.call.take();
        if let Some(call) = &mut call {
            call.code = code_of(response.headers());
        }
        Poll::Ready(Ok(response.map(|inner| LoggedBody { inner, call })))
    }
}

pin_project! {
    /// The body of a logged call, which knows its code from the trailers.
    pub struct LoggedBody<B> {
        #[pin]
        inner: B,
        call: Option<Call>,
    }
}

impl<B: Body> Body for LoggedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let span = this
            .call
            .as_ref()
            .map_or_else(Span::none, |call| call.span.clone());
        let frame = ready!(span.in_scope(|| this.inner.poll_frame(cx)));

        if let (Some(call), Some(Ok(frame))) = (this.call.as_mut(), &frame)
            && let Some(trailers) = frame.trailers_ref()
        {
            call.code = code_of(trailers);
        }
        if frame.is_none() {
            this.call.take();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The caller's id if it is harmless in a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let harmless = |id: &&HeaderValue| {
        (1..=128).contains(&id.len())
            && id
                .as_bytes()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
    };
    headers
        .get(REQUEST_ID)
        .filter(harmless)
        .cloned()
        .unwrap_or_else(|| {
            let mut text = Uuid::encode_buffer();
            let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("?"))
        })
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|code| Code::from_bytes(code.as_bytes()))
}
