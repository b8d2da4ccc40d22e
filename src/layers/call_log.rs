//! One log line per call, its metrics, the request id that its log lines share, and the reason of
//! errors that libraries made.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use prost::bytes::Buf;
use tonic::{Code, Status};
use tower::Service;
use tracing::Span;
use uuid::Uuid;

use super::{admission::LoadShedMarker, method_info::MethodInfo};
use crate::{
    error::add_details,
    telemetry::{
        metrics::{CallMetrics, call_metrics},
        traces::{self, CallTrace},
    },
    transport::{CallHook, HookedBody, HookedCall},
};

/// The header that names a call. It is generated if the caller sends none, and echoed.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The maximum length of an unknown path in the log, in bytes.
const MAX_LOGGED_PATH: usize = 128;

/// Runs each call in a span of its own. At its end, counts it and logs its code and its
/// duration in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct CallLog<S> {
    pub inner: S,
    /// Successful unary calls that take longer are logged as slow.
    pub slow_threshold: Duration,
}

impl<S, B, R> Service<Request<B>> for CallLog<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<HookedBody<R, CallRecord>>;
    type Error = S::Error;
    type Future = HookedCall<S::Future, CallRecord>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let request_id = request_id(request.headers());
        let path = request.uri().path();
        let method = MethodInfo::by_path(path);
        let metrics = method.map_or_else(|| call_metrics(path), |method| method.metrics);
        metrics.started();
        // At error level, so that the fields stand in each log line of the call.
        let span = tracing::error_span!(
            "call",
            method = logged_method(path, metrics),
            request_id = request_id.to_str().unwrap_or_default(),
            caller = tracing::field::Empty,
            trace_id = tracing::field::Empty,
            span_id = tracing::field::Empty,
        );
        // Only calls of `sluice.v1` are traced.
        let is_ours = method.is_some_and(|method| method.is_sluice);
        let trace = is_ours.then(|| traces::begin(request.headers(), path, &span));
        let record = CallRecord {
            span: span.clone(),
            request_id,
            metrics,
            trace: trace.flatten(),
            slow_threshold: self.slow_threshold,
            started_at: Instant::now(),
            code: None,
            is_ours: path.starts_with("/sluice."),
            is_shed: false,
        };
        if let Some(method) = method {
            method.attach(request.extensions_mut());
        }

        let future = span.in_scope(|| self.inner.call(request));
        HookedCall::new(future, record)
    }
}

/// A call that runs. Dropped at its end, it counts and logs the call.
#[derive(Debug)]
pub struct CallRecord {
    span: Span,
    request_id: HeaderValue,
    metrics: &'static CallMetrics,
    started_at: Instant,
    /// The duration from which a successful call is logged as slow.
    slow_threshold: Duration,
    code: Option<Code>,
    /// Whether it is a call of `sluice.v1`.
    is_ours: bool,
    /// Whether it was refused because of overload.
    is_shed: bool,
    trace: Option<CallTrace>,
}

impl CallHook for CallRecord {
    fn poll_response<F, B, E>(
        &mut self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Option<B>>, E>>
    where
        F: Future<Output = Result<Response<B>, E>>,
    {
        let polled = self.span.in_scope(|| future.poll(cx));
        let mut response = ready!(polled)?;
        self.code = code_of(response.headers());
        if self.has_failed() {
            add_details(response.headers_mut());
        }
        self.is_shed = response.extensions().get::<LoadShedMarker>().is_some();
        let request_id = self.request_id.clone();
        response.headers_mut().insert(REQUEST_ID, request_id);
        Poll::Ready(Ok(response.map(Some)))
    }

    fn poll_frame<B: Body>(
        &mut self,
        body: Pin<&mut Option<B>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = body.as_pin_mut() else {
            return Poll::Ready(None);
        };
        // Writing the response of a unary call logs nothing, and needs no span.
        let polled = if self.metrics.is_unary() {
            body.poll_frame(cx)
        } else {
            self.span.in_scope(|| body.poll_frame(cx))
        };
        let mut frame = ready!(polled);
        if let Some(Ok(frame)) = &mut frame {
            if let Some(data) = frame.data_ref() {
                self.count_sent(data.chunk());
            }
            if let Some(trailers) = frame.trailers_mut() {
                self.code = code_of(trailers);
                if self.has_failed() {
                    add_details(trailers);
                }
            }
        }
        Poll::Ready(frame)
    }
}

impl CallRecord {
    fn has_failed(&self) -> bool {
        self.code.is_some_and(|code| code != Code::Ok)
    }

    /// Counts the messages in a frame that is sent: each has a prefix of five bytes.
    fn count_sent(&self, data: &[u8]) {
        let (mut rest, mut messages) = (data, 0);
        while let [_, a, b, c, d, after @ ..] = rest {
            messages += 1;
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            rest = after.get(length..).unwrap_or_default();
        }
        self.metrics.sent(messages);
    }

    /// Logs successful calls at debug level, because they are the most, and failures that
    /// are the server's fault as warnings.
    fn log(&self, code: Code, duration: Duration) {
        let duration_ms = (duration.as_secs_f64() * 1e6).round() / 1e3;
        let span = &self.span;
        let is_slow = duration > self.slow_threshold && self.metrics.is_unary();
        match code {
            // Health checks and reflection would flood the log.
            _ if !self.is_ours => {
                tracing::debug!(target: "sluice::probes", parent: span, ?code, duration_ms, "call");
            }
            // These come by thousands; one line a second counts them.
            _ if self.is_shed => {
                tracing::debug!(target: "sluice::calls", parent: span, ?code, duration_ms, "call")
            }
            Code::Ok if is_slow => {
                tracing::info!(target: "sluice::calls", parent: span, ?code, duration_ms, slow = true, "call");
            }
            Code::Ok => {
                tracing::debug!(target: "sluice::calls", parent: span, ?code, duration_ms, "call")
            }
            Code::Unknown
            | Code::Internal
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::DataLoss => {
                tracing::warn!(target: "sluice::calls", parent: span, ?code, duration_ms, "call");
            }
            _ => tracing::info!(target: "sluice::calls", parent: span, ?code, duration_ms, "call"),
        }
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        // A caller that disconnects leaves no code: its call is CANCELLED.
        let code = self.code.unwrap_or(Code::Cancelled);
        let duration = self.started_at.elapsed();
        self.metrics.handled(code, duration);
        if let Some(trace) = self.trace.take() {
            trace.end(code);
        }
        self.log(code, duration);
    }
}

/// The method for the log: a path of no known RPC is cut off, because callers choose it.
fn logged_method<'a>(path: &'a str, metrics: &CallMetrics) -> &'a str {
    let method = path.trim_start_matches('/');
    if metrics.is_known() {
        return method;
    }
    let end = method.len().min(MAX_LOGGED_PATH);
    method.get(..end).unwrap_or_default()
}

/// The caller's request id if it is safe to log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    let is_safe =
        |id: &&HeaderValue| (1..=128).contains(&id.len()) && id.as_bytes().iter().all(is_plain);
    let received = headers.get(REQUEST_ID).filter(is_safe).cloned();
    let mut id = received.unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("?"))
    });
    // Each id is used once, so it must not fill the HPACK tables.
    id.set_sensitive(true);
    id
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    let code = headers.get(Status::GRPC_STATUS)?;
    Some(Code::from_bytes(code.as_bytes()))
}
