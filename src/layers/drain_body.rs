//! Reads the rest of a request that is answered unread.
//!
//! A call that is refused for its headers gets its response before its message has
//! arrived. h2 counts such messages for the life of the connection, as memory that a peer
//! might fill, and closes the connection after some thousands (ENHANCE_YOUR_CALM).

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use prost::bytes::Buf;
use tokio::time::timeout;
use tower::Service;

use crate::transport::PolledFrame;

/// The maximum number of bytes read: the HTTP/2 window of a call, beyond which the peer
/// cannot send unread data.
const MAX_DRAINED_SIZE: usize = 64 * 1024;

/// How long the rest may take to arrive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads requests to their end before the response, within limits of size and time.
#[derive(Debug, Clone)]
pub(super) struct DrainBody<S> {
    pub inner: S,
}

impl<S, B, R> Service<Request<B>> for DrainBody<S>
where
    S: Service<Request<SharedBody<B>>, Response = Response<R>>,
    S::Future: Send + 'static,
    B: Body<Data: Send> + Send + Unpin + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = request.map(SharedBody::new);
        let body = SharedBody(Arc::clone(&request.body().0));
        let future = self.inner.call(request);
        Box::pin(async move {
            let mut future = pin!(future);
            let response = future.as_mut().await?;
            // The call keeps the body if it ended at its deadline, or still reads.
            if let Some(body) = Arc::into_inner(body.0) {
                drain(body.into_inner()).await;
            }
            Ok(response)
        })
    }
}

/// The body of a request, shared by its handler and [`DrainBody`].
#[derive(Debug)]
pub struct SharedBody<B>(Arc<Mutex<B>>);

impl<B> SharedBody<B> {
    fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }
}

impl<B: Body + Unpin> Body for SharedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<B> {
        Pin::new(&mut *self.0.lock()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

async fn drain<B: Body + Unpin>(mut body: B) {
    if body.is_end_stream() {
        return;
    }
    let read = async {
        let mut size = 0;
        while size <= MAX_DRAINED_SIZE {
            match body.frame().await {
                Some(Ok(frame)) => size += frame.data_ref().map_or(0, Buf::remaining),
                Some(Err(_)) | None => return,
            }
        }
    };
    // HTTP/2 resets the call if more arrives.
    let _ = timeout(DRAIN_TIMEOUT, read).await;
}
