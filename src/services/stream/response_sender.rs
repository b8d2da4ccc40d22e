use std::time::Duration;

use tokio::sync::mpsc::{self, OwnedPermit, Sender, error::SendTimeoutError};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Status, codegen::BoxStream};

use crate::error::Error;

/// How many messages wait for a caller that reads slowly.
const WAITING: usize = 8;

/// The sending end of an answer of many messages.
///
/// There is always room for the error that ends it, however slowly the caller reads.
/// Messages are boxed, because tokio's channels make room for dozens at once.
#[derive(Debug)]
pub(super) struct Outlet<T> {
    messages: Sender<Result<Box<T>, Status>>,
    last: OwnedPermit<Result<Box<T>, Status>>,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The caller has gone.
    Gone,
    /// The caller does not read.
    Slow,
}

impl<T: Send + 'static> Outlet<T> {
    /// An answer, and the end to fill it.
    pub fn open() -> (Self, BoxStream<T>) {
        let (messages, answer) = mpsc::channel(WAITING + 1);
        let last = messages.clone().try_reserve_owned();
        let last = last.expect("a new channel has room");
        let answer = ReceiverStream::new(answer);
        let answer = answer.map(|message: Result<Box<T>, _>| message.map(|unboxed| *unboxed));
        (Self { messages, last }, Box::pin(answer))
    }

    /// Sends a message, as long as the patience lasts.
    pub async fn send(&self, message: impl Into<Box<T>>, patience: Duration) -> Result<(), Unsent> {
        let sent = self
            .messages
            .send_timeout(Ok(message.into()), patience)
            .await;
        sent.map_err(|unsent| match unsent {
            SendTimeoutError::Closed(_) => Unsent::Gone,
            SendTimeoutError::Timeout(_) => Unsent::Slow,
        })
    }

    /// Whether the caller has gone.
    pub fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// Waits until the caller has gone.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }

    /// Ends the answer with an error, after what was sent before.
    pub fn end(self, error: Error) {
        self.last.send(Err(error.into()));
    }
}
