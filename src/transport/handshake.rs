use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::tls_reloader::ReloadableTls;

/// The stream of a connection after its handshake.
pub(super) type Stream = Rewind<Either<TcpStream, TlsStream<TcpStream>>>;

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Completes TLS, if configured, and detects the protocol.
pub(super) async fn handshake(
    stream: TcpStream,
    tls: Option<&ReloadableTls>,
) -> io::Result<(Stream, Protocol)> {
    let mut stream = match tls {
        None => Either::Left(stream),
        Some(tls) => Either::Right(tls.acceptor().accept(stream).await?),
    };
    let (prefix, length, protocol) = read_preface(&mut stream).await?;
    Ok((Rewind::new(stream, prefix, length), protocol))
}

/// Reads until the first byte that differs from the HTTP/2 preface, which means HTTP/1, or
/// to the end of the preface. Returns the bytes read and their number.
///
/// Hyper has no timeout for the preface, and ignores a graceful shutdown before it.
async fn read_preface(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<([u8; PREFACE.len()], usize, Protocol)> {
    let mut prefix = [0; PREFACE.len()];
    let mut length = 0;
    while length < prefix.len() {
        match stream.read(&mut prefix[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => length += count,
        }
        if prefix[..length] != PREFACE[..length] {
            return Ok((prefix, length, Protocol::Http1));
        }
    }
    Ok((prefix, length, Protocol::Http2))
}

/// The first bytes of an HTTP/2 connection (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pin_project! {
    /// A stream that returns bytes already read once more, before the rest.
    #[derive(Debug)]
    pub(super) struct Rewind<T> {
        #[pin]
        stream: T,
        prefix: [u8; PREFACE.len()],
        next: usize,
        end: usize,
    }
}

impl<T> Rewind<T> {
    /// A stream of which the first `length` bytes of `prefix` were read.
    pub fn new(stream: T, prefix: [u8; PREFACE.len()], length: usize) -> Self {
        Self {
            stream,
            prefix,
            next: 0,
            end: length,
        }
    }
}

impl<T: AsyncRead> AsyncRead for Rewind<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.next == this.end {
            return this.stream.poll_read(cx, buffer);
        }
        let rest = &this.prefix[*this.next..*this.end];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        *this.next += count;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite> AsyncWrite for Rewind<T> {
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{PREFACE, Protocol, Rewind, read_preface};

    async fn detect(chunks: &[&[u8]]) -> (usize, Protocol) {
        let (mut near, mut far) = tokio::io::duplex(64);
        let write = async {
            for chunk in chunks {
                near.write_all(chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
            near
        };
        let (read, _near) = tokio::join!(read_preface(&mut far), write);
        let (_, length, protocol) = read.unwrap();
        (length, protocol)
    }

    #[tokio::test]
    async fn the_preface_is_read_in_any_chunks_and_no_further() {
        let (start, rest) = PREFACE.split_at(5);

        assert_eq!(detect(&[PREFACE, b"more"]).await, (24, Protocol::Http2));
        assert_eq!(detect(&[start, rest]).await, (24, Protocol::Http2));
    }

    #[tokio::test]
    async fn http1_is_detected_at_the_first_byte_that_differs_from_the_preface() {
        assert_eq!(detect(&[b"GE"]).await, (2, Protocol::Http1));
        assert_eq!(detect(&[b"PRI", b"X"]).await, (4, Protocol::Http1));
    }

    #[tokio::test]
    async fn rewind_returns_the_prefix_in_any_chunks_and_then_the_rest() {
        let mut rewind = Rewind::new(&b"and the rest"[..], *PREFACE, 3);
        let (mut two, mut rest) = ([0; 2], String::new());

        rewind.read_exact(&mut two).await.unwrap();
        rewind.read_to_string(&mut rest).await.unwrap();

        assert_eq!((&two, &*rest), (b"PR", "Iand the rest"));
    }
}
