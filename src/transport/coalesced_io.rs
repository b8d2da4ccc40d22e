//! Coalesced I/O during overload.
//!
//! At three times the calls that can be answered, goodput was 13 % lower without it and
//! without a call executor that has been removed since (median of five interleaved rounds,
//! 3 to 29 %). Its gain alone was not resolved: 21 % in three rounds, none in five. The
//! price is slower refusals: 95 % within 24 ms instead of 5 ms. The overload scenario of
//! `tests/run bench --bench load` measures the goodput.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::Bytes;
use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How long the overload lasts after the last refused call.
const OVERLOAD_DURATION: Duration = Duration::from_millis(100);

/// The delay between two bursts of reads during overload.
const READ_DELAY: Duration = Duration::from_millis(20);

/// The delay before a burst of writes during overload, and the length of that burst.
const WRITE_DELAY: Duration = Duration::from_millis(1);

/// The number of bytes in a burst of reads after which the next one is not delayed: the
/// peer sends a large request, or many small ones.
const UNDELAYED_READ_SIZE: usize = 32 * 1024;

/// Whether the server refuses calls because there are too many. A clone shares it.
#[derive(Debug, Clone)]
pub struct Overload(Arc<State>);

#[derive(Debug)]
struct State {
    created_at: Instant,
    /// Milliseconds from `created_at` to the end of the overload.
    until: AtomicU64,
}

impl Default for Overload {
    /// No overload.
    fn default() -> Self {
        Self(Arc::new(State {
            created_at: Instant::now(),
            until: AtomicU64::new(0),
        }))
    }
}

impl Overload {
    /// Records that a call was refused now.
    pub fn record_refusal(&self) {
        let until = self.millis_in(OVERLOAD_DURATION);
        self.0.until.store(until, Ordering::Relaxed);
    }

    /// Whether a call was refused within the last 100 ms.
    pub(crate) fn is_active(&self) -> bool {
        let until = self.0.until.load(Ordering::Relaxed);
        until > 0 && until > self.millis_in(Duration::ZERO)
    }

    fn millis_in(&self, delay: Duration) -> u64 {
        let at = self.0.created_at.elapsed() + delay;
        u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
    }
}

pin_project! {
    /// A stream that reads and writes less often during overload, and more at once: most
    /// of the cost of a refused call is in the system calls. It begins with the bytes that
    /// the handshake has read.
    #[derive(Debug)]
    pub(super) struct CoalescedIo<T> {
        #[pin]
        stream: T,
        prefix: Bytes,
        overload: Overload,
        // When the last burst of reads began, during overload.
        burst_start: Option<Instant>,
        // Whether the last read found no data.
        is_drained: bool,
        // The number of bytes read in the last burst.
        burst_size: usize,
        read_delay: Option<Pin<Box<Sleep>>>,
        write_delay: Option<Pin<Box<Sleep>>>,
        // The end of the burst of writes.
        write_burst_end: Option<Instant>,
    }
}

impl<T> CoalescedIo<T> {
    /// A stream that delays nothing without overload.
    pub fn new(stream: T, prefix: Bytes, overload: Overload) -> Self {
        Self {
            stream,
            prefix,
            overload,
            burst_start: None,
            is_drained: false,
            burst_size: 0,
            read_delay: None,
            write_delay: None,
            write_burst_end: None,
        }
    }

    /// The stream, once the write delay is over.
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pin<&mut T>> {
        let this = self.project();
        if this.write_delay.is_none() {
            let may_write = |until: Instant| Instant::now() < until;
            if !this.overload.is_active() || this.write_burst_end.is_some_and(may_write) {
                return Poll::Ready(this.stream);
            }
        }
        let wait = this
            .write_delay
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_DELAY)));
        ready!(wait.as_mut().poll(cx));
        *this.write_delay = None;
        // A large response takes several writes.
        *this.write_burst_end = Some(Instant::now() + WRITE_DELAY);
        Poll::Ready(this.stream)
    }
}

impl<T: AsyncRead> AsyncRead for CoalescedIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if *this.is_drained && this.read_delay.is_none() && this.overload.is_active() {
            let next = this.burst_start.map(|start| start + READ_DELAY);
            let next = next.filter(|_| *this.burst_size < UNDELAYED_READ_SIZE);
            let next = next.filter(|next| *next > Instant::now());
            *this.read_delay = next.map(|next| Box::pin(sleep_until(next)));
        }
        if let Some(wait) = this.read_delay {
            ready!(wait.as_mut().poll(cx));
            *this.read_delay = None;
        }

        let before = buffer.filled().len();
        let polled = if this.prefix.is_empty() {
            this.stream.poll_read(cx, buffer)
        } else {
            let count = this.prefix.len().min(buffer.remaining());
            buffer.put_slice(&this.prefix.split_to(count));
            Poll::Ready(Ok(()))
        };
        if polled.is_ready() && *this.is_drained {
            *this.burst_start = this.overload.is_active().then(Instant::now);
            *this.burst_size = 0;
        }
        *this.burst_size += buffer.filled().len() - before;
        *this.is_drained = polled.is_pending();
        polled
    }
}

impl<T: AsyncWrite> AsyncWrite for CoalescedIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(cx)).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(cx)).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::yield_now,
        time::Instant,
    };

    use super::{Bytes, CoalescedIo, Overload, READ_DELAY, WRITE_DELAY};

    /// The output of a future that is ready.
    async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn coalesced() -> (CoalescedIo<DuplexStream>, DuplexStream, Overload) {
        let (near, far) = duplex(1024);
        let overload = Overload::default();
        let stream = CoalescedIo::new(near, Bytes::new(), overload.clone());
        (stream, far, overload)
    }

    /// The number of reads while a hundred bytes arrive one by one, and the time taken.
    async fn reads(is_overloaded: bool) -> (u32, Duration) {
        let (mut stream, mut far, overload) = coalesced();
        let (begun, mut buffer) = (Instant::now(), [0; 1024]);
        let (mut written, mut read, mut reads) = (0, 0, 0);
        while read < 100 {
            if is_overloaded {
                overload.record_refusal();
            }
            if written < 100 {
                far.write_all(b"x").await.unwrap();
                written += 1;
            }
            if let Some(more) = poll_once(stream.read(&mut buffer)).await {
                (read, reads) = (read + more.unwrap(), reads + 1);
            }
            assert!(poll_once(stream.read(&mut buffer)).await.is_none());
            yield_now().await;
        }
        (reads, begun.elapsed())
    }

    /// The number of write bursts for a hundred writes, and the time taken.
    async fn writes(is_overloaded: bool) -> (u32, Duration) {
        let (mut stream, _far, overload) = coalesced();
        let (begun, mut writes, mut was_written) = (Instant::now(), 0, false);
        for _ in 0..100 {
            if is_overloaded {
                overload.record_refusal();
            }
            let is_written = poll_once(stream.write_all(b"x")).await.is_some();
            // During overload, writes in a row are one burst.
            writes += u32::from(is_written && !(is_overloaded && was_written));
            was_written = is_written;
            yield_now().await;
        }
        (writes, begun.elapsed())
    }

    #[tokio::test]
    async fn the_prefix_is_read_in_any_chunks_and_then_the_rest() {
        let prefix = Bytes::from_static(b"PRI");
        let mut stream = CoalescedIo::new(&b"and the rest"[..], prefix, Overload::default());
        let (mut two, mut rest) = ([0; 2], String::new());

        stream.read_exact(&mut two).await.unwrap();
        stream.read_to_string(&mut rest).await.unwrap();

        assert_eq!((&two, &*rest), (b"PR", "Iand the rest"));
    }

    #[tokio::test]
    async fn without_overload_each_read_and_write_is_immediate() {
        assert_eq!((reads(false).await.0, writes(false).await.0), (100, 100));
    }

    #[tokio::test]
    async fn during_overload_reads_and_writes_happen_once_per_delay() {
        for ((bursts, elapsed), delay) in [
            (reads(true).await, READ_DELAY),
            (writes(true).await, WRITE_DELAY),
        ] {
            let max_bursts = elapsed.div_duration_f64(delay) as u32 + 2;
            assert!(bursts <= max_bursts, "{bursts} in {elapsed:?}");
        }
    }
}
