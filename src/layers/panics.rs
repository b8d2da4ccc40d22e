use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body_util::Either;
use pin_project_lite::pin_project;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::error::Error;

/// Makes INTERNAL of a handler that panics, before it has answered.
///
/// The panic itself is logged by the hook of [`telemetry`](crate::telemetry).
#[derive(Debug, Clone, Copy, Default)]
pub struct PanicLayer;

/// See [`PanicLayer`].
#[derive(Debug, Clone)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S> Layer<S> for PanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic { inner }
    }
}

impl<S, B, R> Service<Request<B>> for CatchPanic<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<Either<R, Body>>;
    type Error = S::Error;
    type Future = CaughtCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // What panics here is dropped, as are its halves: nobody sees them broken.
        let begun = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        CaughtCall { call: begun.ok() }
    }
}

pin_project! {
    /// The future of a call whose panics are caught; none if it panicked already.
    pub struct CaughtCall<F> {
        #[pin]
        call: Option<F>,
    }
}

impl<F, R, E> Future for CaughtCall<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R, Body>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.project().call.as_pin_mut();
        let polled = polled.map(|call| catch_unwind(AssertUnwindSafe(|| call.poll(cx))));
        Poll::Ready(match polled {
            Some(Ok(answer)) => ready!(answer).map(|response| response.map(Either::Left)),
            Some(Err(_)) | None => Ok(panicked().map(Either::Right)),
        })
    }
}

fn panicked() -> Response<Body> {
    Status::from(Error::internal(anyhow::anyhow!("a handler panicked"))).into_http()
}
