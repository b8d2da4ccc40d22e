use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::{
    rewound::{PREFACE, Rewound},
    tls::Tls,
};

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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::{PREFACE, Protocol, read_preface};

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
}
