//! How long a call may take.
//!
//! gRPC has no default deadline, so every unary call has the server's. A
//! caller's own (`grpc-timeout`) counts if it is shorter, and for streams it is
//! the only one. When it is over the handler is dropped, wherever it waits; what it
//! had begun to commit is committed all the same.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderName, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tower::{Layer, Service};

use super::method_info::Rpc;
use crate::error::Error;

/// The header of gRPC with which a caller says how long it waits.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Of health checks and reflection, those whose answers go on for long.
const OTHER_STREAMS: [&str; 2] = ["/Watch", "/ServerReflectionInfo"];

/// Ends calls that take too long: DEADLINE_EXCEEDED.
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer {
    limit: Duration,
}

/// See [`DeadlineLayer`].
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
    limit: Duration,
}

impl DeadlineLayer {
    /// Unary calls of `sluice.v1` may take so long.
    pub fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline {
            inner,
            limit: self.limit,
        }
    }
}

impl<S, B, R> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<TimedBody<R>>;
    type Error = S::Error;
    type Future = TimedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_stream = match Rpc::marked(request.extensions()) {
            Some(rpc) => rpc.is_stream(),
            None => is_other_stream(request.uri().path()),
        };
        let ours = (!is_stream).then_some(self.limit);
        let limit = match (ours, asked_for(request.headers())) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        TimedCall {
            timer: Timer::after(limit),
            inner: self.inner.call(request),
        }
    }
}

pin_project! {
    /// A moment that may never come; the clock is asked only of those who wait.
    struct Timer {
        at: Option<Instant>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Timer {
    fn after(limit: Option<Duration>) -> Self {
        Self {
            at: limit.and_then(|limit| Instant::now().checked_add(limit)),
            sleep: None,
        }
    }

    fn poll_over(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(at) = *this.at else {
            return Poll::Pending;
        };
        if this.sleep.is_none() {
            this.sleep.set(Some(sleep_until(at)));
        }
        match this.sleep.as_pin_mut() {
            Some(sleep) => sleep.poll(cx),
            None => Poll::Pending,
        }
    }
}

pin_project! {
    /// The future of a call with a deadline.
    pub struct TimedCall<F> {
        #[pin]
        timer: Timer,
        #[pin]
        inner: F,
    }
}

impl<F, R, E> Future for TimedCall<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<TimedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let at = this.timer.at;
        if let Poll::Ready(answer) = this.inner.poll(cx) {
            return Poll::Ready(
                answer.map(|answer| answer.map(|body| TimedBody::new(Some(body), at))),
            );
        }
        this.timer.poll_over(cx).map(|()| {
            let refusal = Status::from(Error::DeadlineExceeded).into_http::<()>();
            Ok(refusal.map(|()| TimedBody::new(None, None)))
        })
    }
}

pin_project! {
    /// An answer that ends at the deadline, if it has not before.
    pub struct TimedBody<B> {
        // None when it has.
        #[pin]
        inner: Option<B>,
        #[pin]
        timer: Timer,
    }
}

impl<B> TimedBody<B> {
    fn new(inner: Option<B>, at: Option<Instant>) -> Self {
        Self {
            inner,
            timer: Timer { at, sleep: None },
        }
    }
}

impl<B: Body> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = inner.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        this.timer.poll_over(cx).map(|()| {
            this.inner.set(None);
            Some(Ok(Frame::trailers(trailers(Error::DeadlineExceeded))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref();
        inner.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// An error as it ends an answer that has begun.
fn trailers(error: Error) -> HeaderMap {
    let (mut head, ()) = Status::from(error).into_http::<()>().into_parts();
    head.headers.remove(http::header::CONTENT_TYPE);
    head.headers
}

fn is_other_stream(path: &str) -> bool {
    OTHER_STREAMS.iter().any(|name| path.ends_with(name))
}

/// How long the caller waits: at most eight digits and a unit. What is not that
/// is ignored, as tonic and the others do: the server's own limit holds.
fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_hours(number)),
        "M" => Some(Duration::from_mins(number)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};
    use rstest::rstest;

    use super::asked_for;

    #[rstest]
    #[case::hours("2H", Some(Duration::from_hours(2)))]
    #[case::minutes("3M", Some(Duration::from_mins(3)))]
    #[case::seconds("99999999S", Some(Duration::from_secs(99_999_999)))]
    #[case::milliseconds("250m", Some(Duration::from_millis(250)))]
    #[case::microseconds("7u", Some(Duration::from_micros(7)))]
    #[case::nanoseconds("8n", Some(Duration::from_nanos(8)))]
    #[case::none_at_all("0m", Some(Duration::ZERO))]
    #[case::nine_digits("100000000n", None)]
    #[case::no_digits("S", None)]
    #[case::no_unit("12", None)]
    #[case::a_sign("+1S", None)]
    #[case::a_fraction("1.5S", None)]
    #[case::another_unit("1s", None)]
    #[case::beyond_ascii("1\u{e9}", None)]
    #[case::empty("", None)]
    fn a_timeout_is_at_most_eight_digits_and_a_unit(
        #[case] text: &str,
        #[case] limit: Option<Duration>,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(
            "grpc-timeout",
            HeaderValue::from_bytes(text.as_bytes()).unwrap(),
        );

        assert_eq!(asked_for(&headers), limit);
    }
}
