use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::Bytes;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pin_project! {
    /// A stream whose first bytes the handshake has read; they are read once more.
    #[derive(Debug)]
    pub(super) struct PrefixedStream<T> {
        #[pin]
        stream: T,
        prefix: Bytes,
    }
}

impl<T> PrefixedStream<T> {
    /// A stream that begins with a prefix.
    pub fn new(stream: T, prefix: Bytes) -> Self {
        Self { stream, prefix }
    }
}

impl<T: AsyncRead> AsyncRead for PrefixedStream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.prefix.is_empty() {
            return this.stream.poll_read(cx, buffer);
        }
        let count = this.prefix.len().min(buffer.remaining());
        buffer.put_slice(&this.prefix.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite> AsyncWrite for PrefixedStream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(cx, bytes)
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
    use tokio::io::AsyncReadExt;

    use super::{Bytes, PrefixedStream};

    #[tokio::test]
    async fn the_prefix_is_read_in_any_chunks_and_then_the_rest() {
        let mut stream = PrefixedStream::new(&b"and the rest"[..], Bytes::from_static(b"PRI"));
        let (mut two, mut rest) = ([0; 2], String::new());

        stream.read_exact(&mut two).await.unwrap();
        stream.read_to_string(&mut rest).await.unwrap();

        assert_eq!((&two, &*rest), (b"PR", "Iand the rest"));
    }
}
