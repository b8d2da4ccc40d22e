//! One wrapper for the response of a call: its future, then its body.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// The next frame of a body, as [`Body::poll_frame`] returns it.
pub type PolledFrame<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// Accompanies a call from its future to the end of its response body, and is dropped
/// with that body.
pub trait CallHook: Sized {
    /// Polls the future of the response. A response without a body replaces the future's.
    fn poll_response<F, B, E>(
        &mut self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Option<B>>, E>>
    where
        F: Future<Output = Result<Response<B>, E>>;

    /// Polls the next frame of the response body. A hook that ends the body early sets
    /// it to `None`.
    fn poll_frame<B: Body>(
        &mut self,
        body: Pin<&mut Option<B>>,
        cx: &mut Context<'_>,
    ) -> PolledFrame<B>;
}

pin_project! {
    /// The future of a call with a hook.
    #[derive(Debug)]
    pub struct HookedCall<F, H> {
        #[pin]
        future: F,
        // `None` once the response has taken it.
        hook: Option<H>,
    }
}

impl<F, H> HookedCall<F, H> {
    /// Attaches a hook to the future of a call.
    pub fn new(future: F, hook: H) -> Self {
        let hook = Some(hook);
        Self { future, hook }
    }
}

impl<F, H, B, E> Future for HookedCall<F, H>
where
    F: Future<Output = Result<Response<B>, E>>,
    H: CallHook,
{
    type Output = Result<Response<HookedBody<B, H>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let hook = this.hook.as_mut().expect("polled after completion");
        let response = ready!(hook.poll_response(this.future, cx))?;
        let hook = this.hook.take();
        Poll::Ready(Ok(response.map(|inner| HookedBody { inner, hook })))
    }
}

pin_project! {
    /// The response body of a call with a hook.
    #[derive(Debug)]
    pub struct HookedBody<B, H> {
        #[pin]
        inner: Option<B>,
        // `None` once the body has ended.
        hook: Option<H>,
    }
}

impl<B: Body, H: CallHook> Body for HookedBody<B, H> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<B> {
        let this = self.project();
        let Some(hook) = this.hook else {
            return Poll::Ready(None);
        };
        let frame = ready!(hook.poll_frame(this.inner, cx));
        if frame.is_none() {
            *this.hook = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref();
        inner.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
