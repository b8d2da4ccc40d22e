//! Reads what is left of a request that is answered unread.
//!
//! A call that is refused for its headers is answered before its message is there. h2
//! counts such messages against the connection for ever, as what a peer might fill its
//! memory with, and closes it after some thousand of them (ENHANCE_YOUR_CALM).

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use prost::bytes::Buf;
use tokio::time::timeout;
use tower::{Layer, Service};

/// How much is read at most, in bytes: what has been sent may be so much, as the peer may
/// send no more unread.
const MOST: usize = 64 * 1024;

/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads requests to their end before they are answered, as far as that is not much and
/// does not take long.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOutLayer;

/// See [`ReadOutLayer`].
#[derive(Debug, Clone)]
pub struct ReadOut<S> {
    inner: S,
}

/// Where a body goes that is dropped before it was read.
type Returned<B> = Arc<Mutex<Option<B>>>;

impl<S> Layer<S> for ReadOutLayer {
    type Service = ReadOut<S>;

    fn layer(&self, inner: S) -> ReadOut<S> {
        ReadOut { inner }
    }
}

impl<S, B, R> Service<Request<B>> for ReadOut<S>
where
    S: Service<Request<Lent<B>>, Response = Response<R>>,
    B: Body<Data: Send> + Send + Unpin + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ReadOutCall<S::Future, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let returned = (!request.body().is_end_stream()).then(Returned::default);
        let request = request.map(|body| Lent {
            body: Some(body),
            returned: returned.clone(),
        });
        ReadOutCall {
            inner: self.inner.call(request),
            returned,
            reading: None,
        }
    }
}

/// The body of a request, which comes back if it is dropped before its end.
#[derive(Debug)]
pub struct Lent<B: Body> {
    body: Option<B>,
    returned: Option<Returned<B>>,
}

impl<B: Body> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(returned)) = (self.body.take(), self.returned.take())
            && !body.is_end_stream()
        {
            *returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::new, Body::size_hint)
    }
}

/// An answer that waits until its request has been read.
struct Reading<R> {
    rest: Pin<Box<dyn Future<Output = ()> + Send>>,
    response: Option<Response<R>>,
}

pin_project! {
    /// The future of a call whose request is read out.
    pub struct ReadOutCall<F, B, R> {
        #[pin]
        inner: F,
        returned: Option<Returned<B>>,
        reading: Option<Reading<R>>,
    }
}

impl<F, B, R, E> Future for ReadOutCall<F, B, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    B: Body<Data: Send> + Send + Unpin + 'static,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.reading.is_none() {
            let response = ready!(this.inner.poll(cx))?;
            let Some(body) = this.returned.take().and_then(taken) else {
                return Poll::Ready(Ok(response));
            };
            *this.reading = Some(Reading {
                rest: Box::pin(read_out(body)),
                response: Some(response),
            });
        }
        let reading = this.reading.as_mut().expect("it is read");
        ready!(reading.rest.as_mut().poll(cx));
        let response = reading.response.take();
        Poll::Ready(Ok(response.expect("polled after its end")))
    }
}

fn taken<B>(returned: Returned<B>) -> Option<B> {
    let mut returned = returned.lock().unwrap_or_else(PoisonError::into_inner);
    returned.take()
}

async fn read_out<B: Body + Unpin>(mut body: B) {
    let read = async {
        let mut bytes = 0;
        while bytes <= MOST {
            match body.frame().await {
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Buf::remaining),
                Some(Err(_)) | None => return,
            }
        }
    };
    // What comes later is refused by HTTP/2.
    let _ = timeout(PATIENCE, read).await;
}
