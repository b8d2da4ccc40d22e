use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
    use tokio::io::AsyncReadExt;

    use super::{PREFACE, Rewound};

    #[tokio::test]
    async fn what_was_read_is_read_again_in_any_portions() {
        let mut rewound = Rewound::new(&b"and the rest"[..], *PREFACE, 3);
        let (mut two, mut rest) = ([0; 2], String::new());

        rewound.read_exact(&mut two).await.unwrap();
        rewound.read_to_string(&mut rest).await.unwrap();

        assert_eq!((&two, &*rest), (b"PR", "Iand the rest"));
    }
}
