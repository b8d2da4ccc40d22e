//! The maximum duration of a call.
//!
//! gRPC has no default deadline, so every unary call gets the server's. The caller's own
//! (`grpc-timeout`) applies if it is shorter; for streams it is the only one. At the
//! deadline the handler is dropped wherever it waits. A commit that has begun still
//! completes.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderName, Request, Response};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tower::Service;

use super::method_info::MethodInfo;
use crate::{
    error::Error,
    transport::{CallHook, HookedBody, HookedCall},
};

/// The gRPC header for the timeout of a call.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Ends calls at their deadline: DEADLINE_EXCEEDED.
#[derive(Debug, Clone)]
pub(super) struct Deadline<S> {
    pub inner: S,
    /// The timeout of unary calls.
    pub unary_timeout: Duration,
}

impl<S, B, R> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<HookedBody<R, Timer>>;
    type Error = S::Error;
    type Future = HookedCall<S::Future, Timer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = MethodInfo::attached(request.extensions());
        let is_stream = method.is_some_and(|method| method.is_stream);
        let ours = (!is_stream).then_some(self.unary_timeout);
        let timeout = match (ours, grpc_timeout(request.headers())) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        let timer = Timer::new(timeout);
        HookedCall::new(self.inner.call(request), timer)
    }
}

/// The deadline of a call, if it has one.
#[derive(Debug)]
pub struct Timer {
    deadline: Option<Instant>,
    /// Started only by a call that waits: most calls never do.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn new(timeout: Option<Duration>) -> Self {
        Self {
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            sleep: None,
        }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        sleep.as_mut().poll(cx)
    }
}

impl CallHook for Timer {
    fn poll_response<F, B, E>(
        &mut self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Option<B>>, E>>
    where
        F: Future<Output = Result<Response<B>, E>>,
    {
        if let Poll::Ready(response) = future.poll(cx) {
            return Poll::Ready(response.map(|response| response.map(Some)));
        }
        self.poll_expired(cx).map(|()| {
            let response = Status::from(Error::DeadlineExceeded).into_http::<()>();
            Ok(response.map(|()| None))
        })
    }

    fn poll_frame<B: Body>(
        &mut self,
        mut body: Pin<&mut Option<B>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(inner) = body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = inner.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.poll_expired(cx).map(|()| {
            body.set(None);
            Some(Ok(Frame::trailers(Error::DeadlineExceeded.into_trailers())))
        })
    }
}

/// The caller's timeout: at most eight digits and a unit. An invalid header is ignored, as
/// in tonic, and the server's own timeout applies.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
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

    use super::grpc_timeout;

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
        #[case] timeout: Option<Duration>,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(
            "grpc-timeout",
            HeaderValue::from_bytes(text.as_bytes()).unwrap(),
        );

        assert_eq!(grpc_timeout(&headers), timeout);
    }
}
