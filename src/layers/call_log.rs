//! One log line per call, its metrics, and the request id that its log lines share.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use prost::bytes::Buf;
use tonic::{Code, Status};
use tower::{Layer, Service};
use uuid::Uuid;

use super::{call_record::CallRecord, load_shed::LoadShedMarker, method_info::MethodInfo};
use crate::{
    telemetry::{
        metrics::{CallMetrics, call_metrics},
        traces,
    },
    transport::{CallHook, HookedBody, HookedCall},
};

/// The header that names a call. It is generated if the caller sends none, and echoed.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The maximum length of an unknown path in the log, in bytes.
const MAX_LOGGED_PATH: usize = 128;

/// Runs each call in a span of its own. At its end, counts it and logs its code and its
/// duration in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct CallLogLayer {
    slow_threshold: Duration,
}

/// See [`CallLogLayer`].
#[derive(Debug, Clone)]
pub struct CallLog<S> {
    inner: S,
    slow_threshold: Duration,
}

impl CallLogLayer {
    /// Logs successful unary calls that take longer than the threshold as slow.
    pub fn new(slow_threshold: Duration) -> Self {
        Self { slow_threshold }
    }
}

impl<S> Layer<S> for CallLogLayer {
    type Service = CallLog<S>;

    fn layer(&self, inner: S) -> CallLog<S> {
        CallLog {
            inner,
            slow_threshold: self.slow_threshold,
        }
    }
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
        let metrics = method.map_or_else(|| call_metrics(path), MethodInfo::metrics);
        metrics.started();
        // At error level, so that the fields stand in each log line of the call.
        let span = tracing::error_span!(
            "call",
            method = logged_method(path, metrics),
            request_id = request_id.to_str().unwrap_or_default(),
            caller = tracing::field::Empty,
        );
        // Only calls of `sluice.v1` are traced.
        let trace = method.and_then(|_| traces::begin(request.headers(), path, &span));
        let record = CallRecord {
            span: span.clone(),
            request_id,
            metrics,
            trace,
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
        let frame = ready!(polled);
        if let Some(Ok(frame)) = &frame {
            match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => self.count_sent(data.chunk()),
                (_, Some(trailers)) => self.code = code_of(trailers),
                (None, None) => {}
            }
        }
        Poll::Ready(frame)
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
    let is_safe = |id: &&HeaderValue| {
        (1..=128).contains(&id.len())
            && id
                .as_bytes()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
    };
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
    headers
        .get(Status::GRPC_STATUS)
        .map(|code| Code::from_bytes(code.as_bytes()))
}
