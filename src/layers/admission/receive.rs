use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Bytes;
use prost::bytes::{Buf, BytesMut};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tonic::Status;
use tower::BoxError;

use super::{
    budgets::{Budgets, Resource, Share},
    holder::Holder,
    message_frames::MessageFrames,
};
use crate::{
    error::{Error, Result},
    transport::PolledFrame,
};

/// How long a request may take to arrive after its headers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a conversation may go on without a message of the caller.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// The maximum number of bytes that are read of a refused request: the HTTP/2 window of a
/// call, beyond which the peer cannot send unread data.
const MAX_DRAINED_SIZE: usize = 64 * 1024;

/// How long the rest of a refused request may take to arrive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The memory of each call, in bytes. Small requests and responses are part of it.
pub(super) const CALL_MEMORY: usize = 4 * 1024;

/// A part of a request or a message of a stream up to this size, in bytes, takes no memory
/// from the budget: the number of requests and of streams bounds it.
pub(super) const FREE_SIZE: usize = 1024;

/// The request body as services get it: one complete message, or a conversation.
pub type CallBody<B> = Either<Full<Bytes>, Conversation<B>>;

/// A call whose request is received for a holder.
#[derive(Debug)]
pub(super) struct Receiver<'a> {
    pub budgets: &'a Budgets,
    pub holder: &'a Holder,
    pub max_message_size: usize,
    /// Whether more messages may follow the first one.
    pub is_conversation: bool,
}

/// What has been received.
#[derive(Debug)]
pub(super) struct Received {
    /// The body up to the end, or up to the first message of a conversation.
    pub bytes: Bytes,
    /// The memory of the call.
    pub memory: Share,
    pub frames: MessageFrames,
}

impl Receiver<'_> {
    /// Receives the request, or the first message of a conversation.
    ///
    /// Most requests have arrived by then. Any other counts as incomplete, until it ends or
    /// its time is over: `DeadlineExceeded`.
    pub async fn receive<B>(&self, body: &mut B) -> Result<Received>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let mut reading = pin!(self.read(body));
        if let Some(received) = poll_once(reading.as_mut()).await {
            return received;
        }
        let incomplete = self.budgets.begin_request(self.holder)?;
        let received = timeout(REQUEST_TIMEOUT, reading).await;
        let received = received.map_err(|_| Error::DeadlineExceeded)??;
        incomplete.complete();
        Ok(received)
    }

    async fn read<B>(&self, body: &mut B) -> Result<Received>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let mut frames = MessageFrames::new(self.max_message_size);
        let (mut buffer, mut whole, mut memory) = (BytesMut::new(), Bytes::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return Err(body_error(error).await),
            };
            let data = frame.into_data().unwrap_or_default();
            if data.is_empty() {
                continue;
            }
            frames.push(&data)?;
            if !self.is_conversation && frames.messages() > 1 {
                return Err(Error::RequestMalformed);
            }
            // Most messages are one piece, which is not copied. Any other is, because a
            // small piece may keep a large buffer of the connection in memory.
            if buffer.is_empty() && whole.is_empty() && frames.is_complete() {
                whole = data;
            } else {
                buffer.extend_from_slice(&std::mem::take(&mut whole));
                buffer.extend_from_slice(&data);
                self.hold(&mut memory, buffer.len())?;
            }
            if self.is_conversation && frames.messages() > 0 {
                break;
            }
        }
        if !self.is_conversation && !frames.is_complete() || frames.messages() == 0 {
            return Err(Error::RequestMalformed);
        }
        let bytes = if buffer.is_empty() {
            whole
        } else {
            buffer.freeze()
        };
        let memory = self.memory_of_call(memory, bytes.len())?;
        Ok(Received {
            bytes,
            memory,
            frames,
        })
    }

    /// Takes the memory of a part of a request.
    fn hold(&self, memory: &mut Option<Share>, size: usize) -> Result<()> {
        match memory {
            Some(share) => share.resize(self.holder, size),
            None if size <= FREE_SIZE => Ok(()),
            None => {
                *memory = Some(self.budgets.take(Resource::Memory, self.holder, size)?);
                Ok(())
            }
        }
    }

    fn memory_of_call(&self, memory: Option<Share>, size: usize) -> Result<Share> {
        let size = size.max(CALL_MEMORY);
        match memory {
            None => self.budgets.take(Resource::Memory, self.holder, size),
            Some(mut share) => share.resize(self.holder, size).map(|()| share),
        }
    }
}

/// Reads the rest of a request that is answered unread, within limits of size and time.
/// `is_shed` if it is refused because of overload.
///
/// h2 counts unread messages for the life of the connection, as memory that a peer might
/// fill, and closes the connection after some thousands (ENHANCE_YOUR_CALM).
pub(super) async fn drain<B>(body: &mut B, budgets: &Budgets, holder: &Holder, is_shed: bool)
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return;
    }
    let mut reading = pin!(async {
        let mut size = 0;
        while size <= MAX_DRAINED_SIZE {
            match body.frame().await {
                Some(Ok(frame)) => size += frame.data_ref().map_or(0, Buf::remaining),
                Some(Err(_)) | None => return,
            }
        }
        // HTTP/2 resets the call if more arrives.
    });
    if poll_once(reading.as_mut()).await.is_some() {
        return;
    }
    // Without a share the call ends at once, unread.
    let Some(incomplete) = budgets.begin_drain(holder, is_shed) else {
        return;
    };
    if timeout(DRAIN_TIMEOUT, reading).await.is_ok() {
        incomplete.complete();
    }
}

/// Polls a future once.
pub(super) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let poll = |cx: &mut Context<'_>| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    };
    poll_fn(poll).await
}

/// The error of a body that cannot be read. For a request that its peer has reset, it waits
/// until the call is dropped.
async fn body_error(error: impl Into<BoxError>) -> Error {
    match error.into().is::<Status>() {
        // Not translatable from gRPC-Web.
        true => Error::RequestMalformed,
        false => std::future::pending().await,
    }
}

/// The request body of a conversation: a stream in both directions. It ends when the caller
/// sends no message for a minute, or a malformed one.
#[derive(Debug)]
pub struct Conversation<B> {
    inner: B,
    /// What was received before the handler was called.
    first: Option<Bytes>,
    frames: MessageFrames,
    silence: Pin<Box<Sleep>>,
}

impl<B> Conversation<B> {
    /// A conversation whose first message has been received.
    pub(super) fn new(inner: B, first: Bytes, frames: MessageFrames) -> Self {
        Self {
            inner,
            first: Some(first),
            frames,
            silence: Box::pin(sleep(SILENCE_TIMEOUT)),
        }
    }

    fn follow(&mut self, data: &[u8]) -> Result<()> {
        let messages = self.frames.messages();
        self.frames.push(data)?;
        if self.frames.messages() > messages {
            self.silence
                .as_mut()
                .reset(Instant::now() + SILENCE_TIMEOUT);
        }
        Ok(())
    }
}

impl<B> Body for Conversation<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<Self> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            let Some(Ok(frame)) = frame else {
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            };
            let data = frame.data_ref().map_or(&[][..], Bytes::as_ref);
            let followed = self.follow(data);
            return Poll::Ready(Some(match followed {
                Ok(()) => Ok(frame),
                Err(error) => Err(Status::from(error).into()),
            }));
        }
        ready!(self.silence.as_mut().poll(cx));
        Poll::Ready(None)
    }
}
