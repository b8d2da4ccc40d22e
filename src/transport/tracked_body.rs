//! Responses that the peer has to read.
//!
//! HTTP takes the next part of a body only while the peer's flow-control window, and the
//! buffer of the socket, have room; and it keeps a part until that is written. So a part
//! that HTTP has not dropped waits for the peer. That holds for all types of calls, and
//! after the handler has ended, too: a response that is complete can wait in HTTP/2's
//! queue. A watch without changes has no such part, and costs nothing.

use std::{
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{self, Context, Poll, Waker},
};

use http_body::{Body, Frame, SizeHint};
use hyper::body::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    call_hook::PolledFrame,
    connection::{CallGuard, PendingResponse},
};
use crate::error::Error;

/// The largest part of a response that HTTP holds at once: the default size of an HTTP/2
/// frame. A peer has to read so much within the timeout.
const MAX_PART_SIZE: usize = 16 * 1024;

/// The body of a response, registered with its connection until its last byte is written.
pub(super) struct TrackedBody<B>(Option<Arc<TrackedResponse<B>>>);

/// A response, as its body, the parts that HTTP holds, and its connection share it.
pub(super) struct TrackedResponse<B> {
    call: CallGuard,
    key: usize,
    source: Mutex<Source<B>>,
    /// The number of parts that HTTP holds.
    unsent: AtomicUsize,
    /// The age of the connection, in milliseconds, when the last part was sent, or the first
    /// one began to wait.
    progress: AtomicU64,
    is_abandoned: AtomicBool,
}

/// Where the parts of a response come from.
enum Source<B> {
    Open(OpenSource<B>),
    /// The peer did not read. Only the error is left.
    Abandoned,
    Ended,
}

struct OpenSource<B> {
    body: B,
    /// What is left of the last frame.
    rest: Bytes,
    /// Wakes the task that waits for the next frame.
    waiting: Option<Waker>,
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> TrackedBody<B> {
    /// Tracks the body of a call. A response without a body ends the call.
    pub fn new(body: B, call: CallGuard) -> Self {
        if body.is_end_stream() {
            return Self(None);
        }
        let connection = call.connection().clone();
        let source = OpenSource {
            body,
            rest: Bytes::new(),
            waiting: None,
        };
        Self(Some(connection.register(|key| {
            Arc::new(TrackedResponse {
                call,
                key,
                source: Mutex::new(Source::Open(source)),
                unsent: AtomicUsize::new(0),
                progress: AtomicU64::new(0),
                is_abandoned: AtomicBool::new(false),
            })
        })))
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        if let Some(response) = &self.0 {
            // HTTP may still hold parts, which hold the response.
            drop(response.replace_source(Source::Ended));
        }
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Body for TrackedBody<B> {
    type Data = UnsentPart<B>;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<Self> {
        let Some(response) = &self.0 else {
            return Poll::Ready(None);
        };
        let frame = task::ready!(response.source.lock().poll_part(cx));
        let track = |frame: Frame<Bytes>| frame.map_data(|bytes| UnsentPart::new(bytes, response));
        Poll::Ready(frame.map(|frame| frame.map(track)))
    }

    fn is_end_stream(&self) -> bool {
        let is_over = |response: &Arc<TrackedResponse<B>>| response.source.lock().is_over();
        self.0.as_ref().is_none_or(is_over)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Some(response) => response.source.lock().size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Source<B> {
    /// The next frame, of at most [`MAX_PART_SIZE`] bytes.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> PolledFrame<B> {
        match self {
            Self::Open(source) => source.poll_part(cx),
            Self::Ended => Poll::Ready(None),
            Self::Abandoned => {
                *self = Self::Ended;
                let trailers = Error::ResponseNotRead.into_trailers();
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Open(source) => source.rest.is_empty() && source.body.is_end_stream(),
            Self::Abandoned => false,
            Self::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Open(source) if source.rest.is_empty() => source.body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> OpenSource<B> {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> PolledFrame<B> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                Poll::Pending => {
                    self.waiting
                        .get_or_insert_with(|| cx.waker().clone())
                        .clone_from(cx.waker());
                    return Poll::Pending;
                }
                end => return end,
            }
        }
        let part = self.rest.split_to(self.rest.len().min(MAX_PART_SIZE));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}

impl<B> TrackedResponse<B> {
    /// Replaces the source. The caller drops the previous one, without the lock, because that
    /// ends the call's handler.
    fn replace_source(&self, source: Source<B>) -> Source<B> {
        mem::replace(&mut *self.source.lock(), source)
    }

    fn progress_now(&self) {
        let now = self.call.connection().age_millis();
        self.progress.store(now, Ordering::SeqCst);
    }
}

impl<B: Send> PendingResponse for TrackedResponse<B> {
    fn unread_since(&self) -> Option<Instant> {
        let is_abandoned = self.is_abandoned.load(Ordering::SeqCst);
        if is_abandoned || self.unsent.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let since = self.progress.load(Ordering::SeqCst);
        Some(self.call.connection().instant(since))
    }

    fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::SeqCst);
        if let Source::Open(source) = self.replace_source(Source::Abandoned) {
            drop(source.body);
            if let Some(waiting) = source.waiting {
                waiting.wake();
            }
        }
    }
}

impl<B> Drop for TrackedResponse<B> {
    fn drop(&mut self) {
        self.call.connection().unregister(self.key);
    }
}

/// A part of a response, which waits for the peer until it is dropped.
pub(super) struct UnsentPart<B> {
    bytes: Bytes,
    response: Arc<TrackedResponse<B>>,
}

impl<B> UnsentPart<B> {
    fn new(bytes: Bytes, response: &Arc<TrackedResponse<B>>) -> Self {
        // Before the part counts, so that no check finds it with the time of an earlier one.
        if response.unsent.load(Ordering::SeqCst) == 0 {
            response.progress_now();
        }
        response.unsent.fetch_add(1, Ordering::SeqCst);
        response.call.connection().response_waits();
        Self {
            bytes,
            response: Arc::clone(response),
        }
    }
}

impl<B> Drop for UnsentPart<B> {
    fn drop(&mut self) {
        self.response.progress_now();
        self.response.unsent.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<B> Buf for UnsentPart<B> {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::Arc,
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use http_body::{Body, Frame};
    use hyper::body::{Buf, Bytes};
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::{MAX_PART_SIZE, TrackedBody, UnsentPart};
    use crate::transport::{
        connection::{Connection, UnreadCheck},
        connection_limits::{ConnectionLimiter, ConnectionLimits},
        connection_pace::ConnectionPace,
    };

    /// A body whose frames come from a channel.
    struct ChannelBody(mpsc::UnboundedReceiver<Bytes>);

    impl Body for ChannelBody {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0
                .poll_recv(cx)
                .map(|data| data.map(|data| Ok(Frame::data(data))))
        }
    }

    struct Call {
        connection: Connection,
        frames: mpsc::UnboundedSender<Bytes>,
        body: TrackedBody<ChannelBody>,
    }

    impl Call {
        fn new() -> Self {
            let limits = ConnectionLimits {
                total: 1,
                per_address: 1,
                anonymous_per_address: 1,
                pace: ConnectionPace::UNLIMITED,
            };
            let limiter = ConnectionLimiter::new(limits, Arc::new([]));
            let permit = limiter
                .acquire(IpAddr::V4(Ipv4Addr::LOCALHOST).into())
                .unwrap();
            let connection = Connection::open(permit, &CancellationToken::new());
            let (frames, receiver) = mpsc::unbounded_channel();
            let (guard, _) = connection.begin_call();
            Self {
                connection,
                frames,
                body: TrackedBody::new(ChannelBody(receiver), guard),
            }
        }

        fn poll(&mut self) -> Poll<Option<Frame<UnsentPart<ChannelBody>>>> {
            let mut cx = Context::from_waker(Waker::noop());
            let body = std::pin::Pin::new(&mut self.body);
            body.poll_frame(&mut cx)
                .map(|frame| frame.map(Result::unwrap))
        }

        /// The next part, as HTTP holds it.
        fn part(&mut self) -> UnsentPart<ChannelBody> {
            let Poll::Ready(Some(frame)) = self.poll() else {
                panic!("there is a frame");
            };
            frame.into_data().ok().unwrap()
        }

        /// A check that abandons whatever waits for the peer.
        fn abandoned(&self) -> usize {
            self.connection.check_unread(Duration::ZERO).abandoned
        }
    }

    #[test]
    fn only_a_part_that_is_held_waits_for_the_peer() {
        let mut call = Call::new();
        let nothing = UnreadCheck {
            abandoned: 0,
            oldest: None,
        };
        let long = Duration::from_hours(1);
        assert!(call.poll().is_pending());
        assert_eq!(call.connection.check_unread(long), nothing);

        call.frames.send(Bytes::from_static(b"message")).unwrap();
        let part = call.part();
        assert!(call.poll().is_pending());
        assert!(call.connection.check_unread(long).oldest.is_some());

        drop(part);
        assert_eq!(call.connection.check_unread(long), nothing);
        assert_eq!(call.abandoned(), 0);
    }

    #[test]
    fn an_abandoned_response_drops_its_body_and_ends_with_the_reason() {
        let mut call = Call::new();
        call.frames.send(Bytes::from_static(b"message")).unwrap();
        let part = call.part();
        assert_eq!(call.abandoned(), 1);
        assert!(call.frames.is_closed());
        // It is counted once.
        assert_eq!(call.abandoned(), 0);
        drop(part);

        let Poll::Ready(Some(frame)) = call.poll() else {
            panic!("there is a frame");
        };
        let trailers = frame.into_trailers().ok().unwrap();
        assert_eq!(trailers["grpc-status"], "4");
        assert!(matches!(call.poll(), Poll::Ready(None)));
    }

    #[test]
    fn a_complete_response_waits_until_its_last_part_is_dropped() {
        let mut call = Call::new();
        call.frames.send(Bytes::from_static(b"message")).unwrap();
        let part = call.part();
        let Call {
            connection, body, ..
        } = call;
        drop(body);
        assert_eq!(connection.check_unread(Duration::ZERO).abandoned, 1);

        drop(part);
        let (_guard, calls) = connection.begin_call();
        assert_eq!(calls, 1);
    }

    #[test]
    fn a_large_frame_is_split() {
        let mut call = Call::new();
        let size = 2 * MAX_PART_SIZE + 1;
        call.frames.send(Bytes::from(vec![7; size])).unwrap();

        let sizes = [(); 3].map(|()| call.part().remaining());
        assert_eq!(sizes, [MAX_PART_SIZE, MAX_PART_SIZE, 1]);
        assert!(call.poll().is_pending());
    }
}
