use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{self, Duration},
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    connection::Connection,
    connection_metrics::CloseCause,
    frame_budget::{BudgetExceeded, FrameBudget},
    http2_frames::{CONTINUATION, END_HEADERS, FrameEvent, FrameReader, HEADERS},
    lifetime::ConnectionTimeouts,
};

pin_project! {
    /// The stream of an HTTP/2 connection, after the client's preface. It fails if the peer
    ///
    /// - floods it with frames (see [`FrameBudget`]),
    /// - leaves a frame or a header block incomplete: h2 buffers it, and PINGs that detect
    ///   a silent peer could not be answered,
    /// - stops reading. A trusted proxy is exempt: only the calls that it does not read end.
    pub(super) struct Http2Io<T> {
        #[pin]
        stream: T,
        connection: Connection,
        frames: Frames,
        incomplete: StallTimer,
        // `None` for trusted proxies.
        unread: Option<StallTimer>,
    }
}

impl<T> Http2Io<T> {
    /// The stream of a connection.
    pub fn new(stream: T, connection: Connection, timeouts: &ConnectionTimeouts) -> Self {
        let is_limited = !connection.is_of_trusted_proxy();
        Self {
            stream,
            connection,
            frames: Frames::new(),
            incomplete: StallTimer::new(timeouts.frame),
            unread: is_limited.then(|| StallTimer::new(timeouts.response_read)),
        }
    }
}

impl<T: AsyncRead> AsyncRead for Http2Io<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        let polled = this.stream.poll_read(cx, buffer)?;
        if polled.is_pending() {
            if this.frames.is_incomplete() && this.incomplete.poll(cx).is_ready() {
                this.connection.count_close(CloseCause::Incomplete);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            return Poll::Pending;
        }
        match this.frames.receive(&buffer.filled()[before..]) {
            Ok(has_completed) => {
                if has_completed {
                    this.incomplete.stop();
                }
                Poll::Ready(Ok(()))
            }
            Err(BudgetExceeded) => {
                this.connection.count_close(CloseCause::FrameFlood);
                Poll::Ready(Err(io::Error::other("too many control frames")))
            }
        }
    }
}

impl<T: AsyncWrite> AsyncWrite for Http2Io<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let polled = this.stream.poll_write_vectored(cx, bytes);
        let count = ready!(unless_stalled(polled, this.unread, this.connection, cx))?;
        let mut left = count;
        for slice in bytes {
            let sent = &slice[..left.min(slice.len())];
            this.frames.send(sent);
            left -= sent.len();
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let polled = this.stream.poll_flush(cx);
        unless_stalled(polled, this.unread, this.connection, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let polled = this.stream.poll_shutdown(cx);
        unless_stalled(polled, this.unread, this.connection, cx)
    }
}

/// The result of a write, or an error if writes have not been possible for too long.
fn unless_stalled<R>(
    polled: Poll<io::Result<R>>,
    timer: &mut Option<StallTimer>,
    connection: &Connection,
    cx: &mut Context<'_>,
) -> Poll<io::Result<R>> {
    let Some(timer) = timer else {
        return polled;
    };
    if polled.is_ready() {
        timer.stop();
    } else if timer.poll(cx).is_ready() {
        connection.count_close(CloseCause::Unread);
        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
    }
    polled
}

/// Limits how long the stream waits for the peer.
#[derive(Debug)]
struct StallTimer {
    limit: Duration,
    /// `None` while it does not run, which is almost always.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl StallTimer {
    fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    /// Starts it, if it does not run. Ready when the limit is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let running = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        running.as_mut().poll(cx)
    }

    fn stop(&mut self) {
        self.sleep = None;
    }
}

/// The frames in both directions.
#[derive(Debug)]
struct Frames {
    received: FrameReader,
    sent: FrameReader,
    budget: FrameBudget,
    /// Whether the last received frame began or continued a header block without ending it.
    is_in_header_block: bool,
}

impl Frames {
    fn new() -> Self {
        Self {
            received: FrameReader::default(),
            sent: FrameReader::default(),
            budget: FrameBudget::new(time::Instant::now()),
            is_in_header_block: false,
        }
    }

    /// Charges the frames in received bytes. Returns whether a frame, or with its last frame
    /// a header block, was completed.
    fn receive(&mut self, mut bytes: &[u8]) -> Result<bool, BudgetExceeded> {
        let mut has_completed = false;
        while let Some(event) = self.received.next(&mut bytes) {
            let FrameEvent::Head(head) = event else {
                has_completed |= !self.is_in_header_block;
                continue;
            };
            self.budget.receive(head, time::Instant::now)?;
            let is_header_block = matches!(head.kind, HEADERS | CONTINUATION);
            self.is_in_header_block = is_header_block && head.flags & END_HEADERS == 0;
        }
        Ok(has_completed)
    }

    fn send(&mut self, mut bytes: &[u8]) {
        while let Some(event) = self.sent.next(&mut bytes) {
            if let FrameEvent::Head(head) = event {
                self.budget.send(head);
            }
        }
    }

    /// Whether the received bytes end inside a frame or a header block.
    fn is_incomplete(&self) -> bool {
        self.is_in_header_block || self.received.is_inside_frame()
    }
}
