use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame};
use hyper::body::Bytes;

use super::{
    budgets::{Budgets, Share},
    holder::Holder,
    receive::FREE_SIZE,
};
use crate::transport::PolledFrame;

/// A response body that takes the memory of its messages from the budget until they are
/// written to the connection.
#[derive(Debug)]
pub struct AccountedBody<R: Body> {
    /// `None` once the body has ended.
    inner: Option<R>,
    /// The message of a unary response.
    first: Option<Result<Frame<Bytes>, R::Error>>,
    /// For a response stream.
    stream: Option<StreamAccount>,
}

/// Accounts the messages of a response stream.
#[derive(Debug)]
pub(super) struct StreamAccount {
    pub budgets: Budgets,
    pub holder: Holder,
    /// The share of a stream without a caller.
    pub _slot: Option<Share>,
}

impl<R: Body> AccountedBody<R> {
    /// A body without frames.
    pub fn empty() -> Self {
        Self {
            inner: None,
            first: None,
            stream: None,
        }
    }

    /// The rest of a unary response, after its first frame.
    pub(super) fn unary(first: Option<Result<Frame<Bytes>, R::Error>>, inner: R) -> Self {
        Self {
            inner: Some(inner),
            first,
            stream: None,
        }
    }

    /// A response stream.
    pub(super) fn stream(inner: R, account: StreamAccount) -> Self {
        Self {
            inner: Some(inner),
            first: None,
            stream: Some(account),
        }
    }
}

impl<R> Body for AccountedBody<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Unpin,
{
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<Self> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        let Some(Ok(frame)) = frame else {
            self.inner = None;
            self.stream = None;
            return Poll::Ready(frame);
        };
        let Some(account) = &self.stream else {
            return Poll::Ready(Some(Ok(frame)));
        };
        let frame = account.hold(frame).unwrap_or_else(|error| {
            self.inner = None;
            Frame::trailers(error.into_trailers())
        });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl StreamAccount {
    /// Takes the memory of a message.
    fn hold(&self, frame: Frame<Bytes>) -> crate::error::Result<Frame<Bytes>> {
        let size = frame.data_ref().map_or(0, Bytes::len);
        if size <= FREE_SIZE {
            return Ok(frame);
        }
        let memory = self.budgets.take_for_response(&self.holder, size)?;
        Ok(frame.map_data(|data| held(data, memory)))
    }
}

/// Bytes that give back their memory once they are written.
pub(super) fn held(bytes: Bytes, memory: Share) -> Bytes {
    Bytes::from_owner(HeldBytes {
        bytes,
        _memory: memory,
    })
}

struct HeldBytes {
    bytes: Bytes,
    _memory: Share,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
