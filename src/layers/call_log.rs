//! One log line a call, its metrics, and the id that ties together what is logged
//! in between.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use prost::bytes::Buf;
use tonic::{Code, Status};
use tower::{Layer, Service};
use uuid::Uuid;

use super::{call_record::Call, method_info::Rpc, overload_status::Shed};
use crate::telemetry::{
    metrics::{CallMetrics, call_metrics},
    traces,
};

/// The header that names a call; made if the caller sends none, and echoed.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How much of a path is logged that is of no RPC, in bytes.
const MAX_METHOD: usize = 128;

/// Wraps a service in a span a call, and counts and logs each call when it is over:
/// with its code and its duration in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct CallLogLayer {
    slow: Duration,
}

/// See [`CallLogLayer`].
#[derive(Debug, Clone)]
pub struct CallLog<S> {
    inner: S,
    slow: Duration,
}

impl CallLogLayer {
    /// Calls that go well and take longer than this are logged as slow.
    pub fn new(slow: Duration) -> Self {
        Self { slow }
    }
}

impl<S> Layer<S> for CallLogLayer {
    type Service = CallLog<S>;

    fn layer(&self, inner: S) -> CallLog<S> {
        let slow = self.slow;
        CallLog { inner, slow }
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
        let path = request.uri().path();
        let rpc = Rpc::of(path);
        let metrics = rpc.map_or_else(|| call_metrics(path), Rpc::metrics);
        metrics.started();
        // Whatever is logged of it, its id stands there.
        let span = tracing::error_span!(
            "call",
            method = method(path, metrics),
            request_id = request_id.to_str().unwrap_or_default(),
            caller = tracing::field::Empty,
        );
        // Calls of others are not worth it.
        let trace = rpc.and_then(|_| traces::begin(request.headers(), path, &span));
        let call = Call {
            span: span.clone(),
            metrics,
            trace,
            slow: self.slow,
            begun: Instant::now(),
            code: None,
            is_ours: path.starts_with("/sluice."),
            is_shed: false,
        };
        if let Some(rpc) = rpc {
            rpc.mark(request.extensions_mut());
        }

        let inner = span.in_scope(|| self.inner.call(request));
        LoggedCall {
            inner,
            call: Some(call),
            request_id,
        }
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
        let polled = match this.call {
            Some(call) => call.span.in_scope(|| this.inner.poll(cx)),
            None => this.inner.poll(cx),
        };
        let mut response = ready!(polled)?;

        response
            .headers_mut()
            .insert(REQUEST_ID, this.request_id.clone());
        let mut call = this.call.take();
        if let Some(call) = &mut call {
            call.code = code_of(response.headers());
            call.is_shed = response.extensions().get::<Shed>().is_some();
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
        let polled = match this.call {
            // Nothing is logged while the answer of a unary call is written.
            Some(call) if !call.metrics.is_unary() => {
                call.span.in_scope(|| this.inner.poll_frame(cx))
            }
            _ => this.inner.poll_frame(cx),
        };
        let frame = ready!(polled);

        if let (Some(call), Some(Ok(frame))) = (this.call.as_mut(), &frame) {
            match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => call.sent(data.chunk()),
                (_, Some(trailers)) => call.code = code_of(trailers),
                (None, None) => {}
            }
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

/// What stands in the log as the method: anybody can send any path, of any length.
fn method<'a>(path: &'a str, metrics: &CallMetrics) -> &'a str {
    let method = path.trim_start_matches('/');
    if metrics.is_known() {
        return method;
    }
    let end = method.len().min(MAX_METHOD);
    method.get(..end).unwrap_or_default()
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
    let theirs = headers.get(REQUEST_ID).filter(harmless).cloned();
    let mut id = theirs.unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("?"))
    });
    // It comes once: both sides' tables of headers (HPACK) are not to keep it.
    id.set_sensitive(true);
    id
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(Status::GRPC_STATUS)
        .map(|code| Code::from_bytes(code.as_bytes()))
}
