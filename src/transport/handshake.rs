use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use hyper::body::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_rustls::server::TlsStream;
use tokio_util::{either::Either, sync::CancellationToken};

use super::{socket::SocketStream, tls::ReloadableTls};

/// How long a handshake is safe from eviction: honest peers may connect by thousands at
/// once, after a replica has stopped.
const MIN_HANDSHAKE_TIME: Duration = Duration::from_millis(500);

/// The stream of a connection after its handshake.
pub(super) type Stream = Either<SocketStream, TlsStream<SocketStream>>;

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Completes TLS, if configured, and detects the protocol. Returns also the bytes that were
/// read for that.
pub(super) async fn handshake(
    stream: SocketStream,
    tls: Option<&ReloadableTls>,
) -> io::Result<(Stream, Bytes, Protocol)> {
    let mut stream = match tls {
        None => Either::Left(stream),
        Some(tls) => Either::Right(tls.acceptor().accept(stream).await?),
    };
    let (prefix, protocol) = read_preface(&mut stream).await?;
    Ok((stream, prefix, protocol))
}

/// Reads until the first byte that differs from the HTTP/2 preface, which means HTTP/1, or
/// to the end of the preface. Returns the bytes read.
///
/// Hyper has no timeout for the preface, and ignores a graceful shutdown before it.
async fn read_preface(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Bytes, Protocol)> {
    let mut prefix = [0; PREFACE.len()];
    let mut length = 0;
    while length < prefix.len() {
        match stream.read(&mut prefix[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => length += count,
        }
        if prefix[..length] != PREFACE[..length] {
            let read = Bytes::copy_from_slice(&prefix[..length]);
            return Ok((read, Protocol::Http1));
        }
    }
    Ok((Bytes::from_static(PREFACE), Protocol::Http2))
}

/// The first bytes of an HTTP/2 connection (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The connections whose handshake is not complete, up to a maximum.
///
/// Beyond the maximum the oldest is evicted, because an honest peer completes its handshake
/// in a moment. A peer that opens many silent connections thus evicts its own: it neither
/// uses up the permits of callers nor keeps new connections out. Until the oldest has had
/// [`MIN_HANDSHAKE_TIME`], new connections wait in the backlog of the system.
#[derive(Debug)]
pub(super) struct PendingHandshakes {
    max: usize,
    queue: Mutex<Queue>,
    completed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    next_number: u64,
    by_age: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// One pending handshake, until dropped.
#[derive(Debug)]
pub(super) struct PendingHandshake {
    number: u64,
    evicted: CancellationToken,
    all: Arc<PendingHandshakes>,
}

impl PendingHandshakes {
    /// Room for a number of handshakes, at least one.
    pub fn new(max: u32) -> Arc<Self> {
        Arc::new(Self {
            max: max.max(1) as usize,
            queue: Mutex::default(),
            completed: Notify::new(),
        })
    }

    /// Waits until there is room for one more, and evicts the oldest if necessary.
    pub async fn wait_for_room(&self) {
        while let Some(until) = self.make_room() {
            tokio::select! {
                () = self.completed.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Until when there can be no room; `None` if there is room now.
    fn make_room(&self) -> Option<Instant> {
        let mut queue = self.queue.lock();
        if queue.by_age.len() < self.max {
            return None;
        }
        let oldest = queue.by_age.first_entry()?;
        let until = oldest.get().0 + MIN_HANDSHAKE_TIME;
        if until > Instant::now() {
            return Some(until);
        }
        let (_, evicted) = oldest.remove();
        evicted.cancel();
        None
    }

    /// Adds a handshake that begins now.
    pub fn begin(self: &Arc<Self>) -> PendingHandshake {
        let evicted = CancellationToken::new();
        let mut queue = self.queue.lock();
        let number = queue.next_number;
        queue.next_number += 1;
        let entry = (Instant::now(), evicted.clone());
        queue.by_age.insert(number, entry);
        PendingHandshake {
            number,
            evicted,
            all: Arc::clone(self),
        }
    }
}

impl PendingHandshake {
    /// Waits until newer connections need the room.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        self.all.queue.lock().by_age.remove(&self.number);
        self.all.completed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, time::Instant};

    use super::{MIN_HANDSHAKE_TIME, PREFACE, PendingHandshakes, Protocol, read_preface};

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
        let (prefix, protocol) = read.unwrap();
        (prefix.len(), protocol)
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
    async fn room_comes_from_evicting_the_oldest_after_its_time_or_from_a_completed_handshake() {
        let handshakes = PendingHandshakes::new(2);
        let (oldest, younger) = (handshakes.begin(), handshakes.begin());
        let begun = Instant::now();

        handshakes.wait_for_room().await;
        assert!(oldest.evicted.is_cancelled());
        assert!(begun.elapsed() >= MIN_HANDSHAKE_TIME / 2);
        let _third = handshakes.begin();
        drop(younger);
        handshakes.wait_for_room().await;
        drop(oldest);
        assert_eq!(handshakes.queue.lock().by_age.len(), 1);
    }
}
