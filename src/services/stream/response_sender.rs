use tokio::sync::mpsc::{self, OwnedPermit, Sender};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Status, codegen::BoxStream};

use crate::error::Error;

/// How many messages may wait for a slow caller.
const BUFFER_SIZE: usize = 8;

/// The sending half of a response stream.
///
/// One place is reserved for the error that ends the stream, even if the caller does not read.
/// The transport drops the stream of a caller that does not read for too long. Messages are boxed, because tokio's channels allocate space for dozens at once.
#[derive(Debug)]
pub(super) struct ResponseSender<T> {
    messages: Sender<Result<Box<T>, Status>>,
    last: OwnedPermit<Result<Box<T>, Status>>,
}

/// Why a response stream ends.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// The caller has closed it, or does not read.
    Closed,
    /// It ends with this error.
    Error(Error),
}

impl From<Error> for StreamEnd {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl<T: Send + 'static> ResponseSender<T> {
    /// A response stream and its sender.
    pub fn channel() -> (Self, BoxStream<T>) {
        let (messages, stream) = mpsc::channel(BUFFER_SIZE + 1);
        let last = messages.clone().try_reserve_owned();
        let last = last.expect("a new channel has room");
        let stream = ReceiverStream::new(stream);
        let stream = stream.map(|message: Result<Box<T>, _>| message.map(|unboxed| *unboxed));
        (Self { messages, last }, Box::pin(stream))
    }

    /// Sends a message as soon as there is room, or fails when the stream is closed.
    pub async fn send(&self, message: impl Into<Box<T>>) -> Result<(), StreamEnd> {
        let sent = self.messages.send(Ok(message.into())).await;
        sent.map_err(|_| StreamEnd::Closed)
    }

    /// Whether the caller has closed the stream.
    pub fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// Waits until the caller closes the stream.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }

    /// Ends the stream with an error, after the messages sent before.
    pub fn end(self, error: Error) {
        self.last.send(Err(error.into()));
    }
}
