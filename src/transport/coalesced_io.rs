use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::overload::Pressure;

/// How long, under pressure, what comes is left to gather before it is read.
const READ_PAUSE: Duration = Duration::from_millis(20);

/// How long answers are.
const WRITE_PAUSE: Duration = Duration::from_millis(1);

/// How much at once, in bytes, is read as it comes: of a request that is large, or of so
/// many small ones that they need not gather.
const LARGE: usize = 32 * 1024;

pin_project! {
    /// A stream that under pressure is read and written to less often, and more at once:
    /// most of what a refused call costs is the way through the system, there and back.
    #[derive(Debug)]
    pub(super) struct Gathering<T> {
        #[pin]
        stream: T,
        pressure: Pressure,
        // When it was last begun to read what had come.
        read: Option<Instant>,
        // Whether all of that is read.
        is_dry: bool,
        until_read: Option<Pin<Box<Sleep>>>,
        until_write: Option<Pin<Box<Sleep>>>,
        // How much was read since it was last begun.
        portion: usize,
        // Until when everything that was gathered may be written.
        writes_until: Option<Instant>,
    }
}

impl<T> Gathering<T> {
    /// A stream that gathers nothing unless there is this pressure.
    pub fn new(stream: T, pressure: Pressure) -> Self {
        Self {
            stream,
            pressure,
            read: None,
            is_dry: false,
            until_read: None,
            until_write: None,
            portion: 0,
            writes_until: None,
        }
    }

    /// The stream, once enough time was to gather what is written to it.
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pin<&mut T>> {
        let this = self.project();
        if this.until_write.is_none() {
            let may_write = |until: Instant| Instant::now() < until;
            if !this.pressure.is_felt() || this.writes_until.is_some_and(may_write) {
                return Poll::Ready(this.stream);
            }
        }
        let wait = this
            .until_write
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_PAUSE)));
        ready!(wait.as_mut().poll(cx));
        *this.until_write = None;
        // A large answer is written in several parts.
        *this.writes_until = Some(Instant::now() + WRITE_PAUSE);
        Poll::Ready(this.stream)
    }
}

impl<T: AsyncRead> AsyncRead for Gathering<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if *this.is_dry && this.until_read.is_none() && this.pressure.is_felt() {
            let next = this.read.map(|read| read + READ_PAUSE);
            let next = next.filter(|_| *this.portion < LARGE);
            let next = next.filter(|next| *next > Instant::now());
            *this.until_read = next.map(|next| Box::pin(sleep_until(next)));
        }
        if let Some(wait) = this.until_read {
            ready!(wait.as_mut().poll(cx));
            *this.until_read = None;
        }

        let before = buffer.filled().len();
        let polled = this.stream.poll_read(cx, buffer);
        if polled.is_ready() && *this.is_dry {
            *this.read = this.pressure.is_felt().then(Instant::now);
            *this.portion = 0;
        }
        *this.portion += buffer.filled().len() - before;
        *this.is_dry = polled.is_pending();
        polled
    }
}

impl<T: AsyncWrite> AsyncWrite for Gathering<T> {
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

    use super::{Gathering, Pressure, READ_PAUSE, WRITE_PAUSE};

    /// What it is at once, if it is ready.
    async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn gathering() -> (Gathering<DuplexStream>, DuplexStream, Pressure) {
        let (near, far) = duplex(1024);
        let pressure = Pressure::default();
        (Gathering::new(near, pressure.clone()), far, pressure)
    }

    /// How often something is read while a hundred bytes come one by one, and in how long.
    async fn reads(is_felt: bool) -> (u32, Duration) {
        let (mut stream, mut far, pressure) = gathering();
        let (begun, mut buffer) = (Instant::now(), [0; 1024]);
        let (mut written, mut read, mut reads) = (0, 0, 0);
        while read < 100 {
            if is_felt {
                pressure.feel();
            }
            if written < 100 {
                far.write_all(b"x").await.unwrap();
                written += 1;
            }
            if let Some(more) = at_once(stream.read(&mut buffer)).await {
                (read, reads) = (read + more.unwrap(), reads + 1);
            }
            assert!(at_once(stream.read(&mut buffer)).await.is_none());
            yield_now().await;
        }
        (reads, begun.elapsed())
    }

    /// How often what is written a hundred times leaves at once, and in how long.
    async fn writes(is_felt: bool) -> (u32, Duration) {
        let (mut stream, _far, pressure) = gathering();
        let (begun, mut writes, mut was_written) = (Instant::now(), 0, false);
        for _ in 0..100 {
            if is_felt {
                pressure.feel();
            }
            let is_written = at_once(stream.write_all(b"x")).await.is_some();
            // Those that follow each other at once are one.
            writes += u32::from(is_written && !(is_felt && was_written));
            was_written = is_written;
            yield_now().await;
        }
        (writes, begun.elapsed())
    }

    #[tokio::test]
    async fn everything_is_read_and_written_at_once() {
        assert_eq!((reads(false).await.0, writes(false).await.0), (100, 100));
    }

    #[tokio::test]
    async fn under_pressure_both_are_done_once_in_a_while() {
        let often = |elapsed: Duration, pause| elapsed.div_duration_f64(pause) as u32 + 2;
        let (reads, elapsed) = reads(true).await;
        assert!(
            reads <= often(elapsed, READ_PAUSE),
            "{reads} in {elapsed:?}"
        );

        let (writes, elapsed) = writes(true).await;
        assert!(
            writes <= often(elapsed, WRITE_PAUSE),
            "{writes} in {elapsed:?}"
        );
    }
}
