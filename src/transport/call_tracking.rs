use std::{
    mem,
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
///
/// A call begins when its future is first polled. By then earlier calls of the same packet may
/// have been violations, after which the rest is not worth any work: it ends unanswered with the
/// connection, which closes within a moment.
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
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<TrackedBody<R>>;
    type Error = S::Error;
    type Future = TrackedCall<S, B, S::Future>;

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
        // Calls the instance whose `poll_ready` was called, and leaves the clone.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        TrackedCall {
            begin: Some((inner, request)),
            future: None,
            guard: Some(guard),
        }
    }
}

pin_project! {
    /// The future of a call that is tracked.
    #[derive(Debug)]
    pub(super) struct TrackedCall<S, B, F> {
        // `None` once the call has begun.
        begin: Option<(S, Request<B>)>,
        #[pin]
        future: Option<F>,
        // `None` once the response has taken it.
        guard: Option<CallGuard>,
    }
}

impl<S, B, R> Future for TrackedCall<S, B, S::Future>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Output = Result<Response<TrackedBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some((mut inner, request)) = this.begin.take() {
            let is_misused = |guard: &CallGuard| guard.connection().is_misused();
            if !this.guard.as_ref().is_some_and(is_misused) {
                this.future.set(Some(inner.call(request)));
            }
        }
        let Some(future) = this.future.as_pin_mut() else {
            return Poll::Pending;
        };
        let response = ready!(future.poll(cx))?;
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
