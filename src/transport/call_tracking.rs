use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Bytes;
use pin_project_lite::pin_project;
use tonic::Status;
use tower::Service;

use super::{
    connection::{CallGuard, Connection},
    tracked_body::TrackedBody,
};

/// In the extensions of a request: its connection has more calls in flight than it may.
/// The layers refuse it, so that it is answered and logged like every other call.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionCallsExceeded;

/// Counts the calls in flight of a connection, and tracks their responses. Puts the
/// connection into the extensions of each request.
#[derive(Debug, Clone)]
pub(super) struct TrackCalls<S> {
    pub inner: S,
    pub connection: Connection,
    /// The number of concurrent calls beyond which calls are marked with
    /// [`ConnectionCallsExceeded`].
    pub max_calls: usize,
}

impl<S, B, R> Service<Request<B>> for TrackCalls<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<TrackedBody<R>>;
    type Error = S::Error;
    type Future = TrackedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (guard, calls) = self.connection.begin_call();
        let extensions = request.extensions_mut();
        extensions.insert(self.connection.clone());
        if calls > self.max_calls {
            extensions.insert(ConnectionCallsExceeded);
        }
        TrackedCall {
            future: self.inner.call(request),
            guard: Some(guard),
        }
    }
}

pin_project! {
    /// The future of a call that is tracked.
    #[derive(Debug)]
    pub(super) struct TrackedCall<F> {
        #[pin]
        future: F,
        // `None` once the response has taken it.
        guard: Option<CallGuard>,
    }
}

impl<F, R, E> Future for TrackedCall<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Output = Result<Response<TrackedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let guard = this.guard.take().expect("polled after completion");
        if !is_error(&response) {
            guard.connection().record_served_call();
        }
        Poll::Ready(Ok(response.map(|body| TrackedBody::new(body, guard))))
    }
}

/// Whether the call failed before it responded, so that its status is in the headers.
fn is_error<R>(response: &Response<R>) -> bool {
    let status = response.headers().get(Status::GRPC_STATUS);
    status.is_some_and(|status| status != "0")
}
