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

use super::tls::Tls;

/// What calls come over.
pub(super) type Stream = Rewound<Either<TcpStream, TlsStream<TcpStream>>>;

/// What a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Waits until the peer has shown what it speaks.
pub(super) async fn shake_hands(
    stream: TcpStream,
    tls: Option<&Tls>,
) -> io::Result<(Stream, Protocol)> {
    let mut stream = match tls {
        None => Either::Left(stream),
        Some(tls) => Either::Right(tls.acceptor().accept(stream).await?),
    };
    let (first, read, protocol) = read_preface(&mut stream).await?;
    Ok((Rewound::new(stream, first, read), protocol))
}

/// Reads no further than needed: what is not the preface is HTTP/1.
///
/// Hyper would wait for the preface for ever, and take a shutdown to heart only after it.
async fn read_preface(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<([u8; PREFACE.len()], usize, Protocol)> {
    let mut first = [0; PREFACE.len()];
    let mut read = 0;
    while read < first.len() {
        match stream.read(&mut first[read..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
        if first[..read] != PREFACE[..read] {
            return Ok((first, read, Protocol::Http1));
        }
    }
    Ok((first, read, Protocol::Http2))
}

/// How a connection of HTTP/2 begins (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pin_project! {
    /// A stream whose first bytes were read, and are read again.
    #[derive(Debug)]
    pub(super) struct Rewound<T> {
        #[pin]
        stream: T,
        first: [u8; PREFACE.len()],
        next: usize,
        end: usize,
    }
}

impl<T> Rewound<T> {
    /// A stream of which as many of these bytes were read.
    pub fn new(stream: T, first: [u8; PREFACE.len()], read: usize) -> Self {
        Self {
            stream,
            first,
            next: 0,
            end: read,
        }
    }
}

impl<T: AsyncRead> AsyncRead for Rewound<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.next == this.end {
            return this.stream.poll_read(cx, buffer);
        }
        let rest = &this.first[*this.next..*this.end];
        let given = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..given]);
        *this.next += given;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite> AsyncWrite for Rewound<T> {
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

    use super::{PREFACE, Protocol, Rewound, read_preface};

    async fn shown(portions: &[&[u8]]) -> (usize, Protocol) {
        let (mut near, mut far) = tokio::io::duplex(64);
        let write = async {
            for portion in portions {
                near.write_all(portion).await.unwrap();
                tokio::task::yield_now().await;
            }
            near
        };
        let (read, _near) = tokio::join!(read_preface(&mut far), write);
        let (_, length, protocol) = read.unwrap();
        (length, protocol)
    }

    #[tokio::test]
    async fn a_preface_is_read_in_any_portions_and_no_further() {
        let (start, rest) = PREFACE.split_at(5);

        assert_eq!(shown(&[PREFACE, b"more"]).await, (24, Protocol::Http2));
        assert_eq!(shown(&[start, rest]).await, (24, Protocol::Http2));
    }

    #[tokio::test]
    async fn what_is_no_preface_is_known_at_its_first_wrong_byte() {
        assert_eq!(shown(&[b"GE"]).await, (2, Protocol::Http1));
        assert_eq!(shown(&[b"PRI", b"X"]).await, (4, Protocol::Http1));
    }

    #[tokio::test]
    async fn what_was_read_is_read_again_in_any_portions() {
        let mut rewound = Rewound::new(&b"and the rest"[..], *PREFACE, 3);
        let (mut two, mut rest) = ([0; 2], String::new());

        rewound.read_exact(&mut two).await.unwrap();
        rewound.read_to_string(&mut rest).await.unwrap();

        assert_eq!((&two, &*rest), (b"PR", "Iand the rest"));
    }
}
