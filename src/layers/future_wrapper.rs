use std::task::{Context, Poll};

use http::Request;
use tower::Service;

/// Wraps the futures of a server's calls and of its periodic work. A test delays them so.
pub trait FutureWrapper: Clone + Send + Sync + 'static {
    /// A wrapped future, with the same output.
    type Wrapped<F: Future + Send>: Future<Output = F::Output> + Send;

    /// Wraps a future.
    fn wrap<F: Future + Send>(&self, future: F) -> Self::Wrapped<F>;
}

/// Leaves futures as they are, which costs nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unwrapped;

impl FutureWrapper for Unwrapped {
    type Wrapped<F: Future + Send> = F;

    fn wrap<F: Future + Send>(&self, future: F) -> F {
        future
    }
}

/// Wraps the future of each call, around all other layers.
#[derive(Debug, Clone)]
pub struct WrapCalls<S, W> {
    /// The service, with its layers.
    pub inner: S,
    /// What wraps its futures.
    pub wrapper: W,
}

impl<S, W, B> Service<Request<B>> for WrapCalls<S, W>
where
    S: Service<Request<B>, Future: Send>,
    W: FutureWrapper,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = W::Wrapped<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.wrapper.wrap(self.inner.call(request))
    }
}
