use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{media_bytes::MediaBytes, tcp_info::TcpInfo};
use crate::edge::relays::media::OutputQueue;

/// The time after which a destination that answers nothing over TCP may be gone: the kernel brings a
/// shorter pause to an end by itself, on the same connection.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// The bytes of media that a destination has acknowledged.
///
/// Over TCP these are the bytes that its kernel has acknowledged, with the headers of RTMP
/// and TLS, but without replies to the destination. If the kernel of this machine does not
/// tell them, those that its RTMP server acknowledges count, and without these the written
/// ones. Over SRT those count that ffmpeg has given to libsrt, which fails without
/// acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    connection: Mutex<Connection>,
    queue: Mutex<Option<Arc<OutputQueue>>>,
    /// The packets that queues before this one have dropped.
    dropped_before: AtomicU64,
    acknowledged: AtomicU64,
    is_holding: AtomicBool,
    /// Whether the destination was silent when it was last checked.
    is_silent: AtomicBool,
}

/// How well media is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DeliveryQuality {
    /// The media that waits to be sent, in milliseconds.
    pub(crate) lag_ms: i64,
    /// Packets that were dropped because the destination was too slow.
    pub(crate) dropped_packets: u64,
    /// TCP segments that were sent again, over all connections; 0 if unknown.
    pub(crate) retransmitted_segments: u64,
}

#[derive(Debug, Default)]
struct Connection {
    source: Source,
    /// The media in it; `None` before the first.
    media: Option<MediaBytes>,
    /// The bytes that connections before this one have delivered.
    before: u64,
    /// The segments that it has sent again, as last read.
    retransmitted: u64,
    /// Those of the connections before it.
    retransmitted_before: u64,
}

#[derive(Debug, Default)]
enum Source {
    /// There is no connection yet.
    #[default]
    None,
    Tcp(TcpInfo),
    Rtmp {
        written: u64,
        acknowledged: Option<u64>,
    },
    Process(Arc<AtomicU64>),
}

impl Delivery {
    /// The output has connected over TCP.
    pub(super) fn connected(&self, local: SocketAddr, peer: SocketAddr) {
        let info = TcpInfo::of(local, peer).and_then(|info| info.bytes().map(|_| info));
        self.replace(match info {
            Ok(info) => Source::Tcp(info),
            Err(error) => {
                tracing::warn!(%error, "cannot read acknowledged bytes, counting written ones");
                Source::Rtmp {
                    written: 0,
                    acknowledged: None,
                }
            }
        });
    }

    /// The output has started a process, which counts its bytes.
    pub(super) fn process_started(&self, bytes: Arc<AtomicU64>) {
        self.replace(Source::Process(bytes));
        self.connection.lock().media = Some(MediaBytes::begin_at(0));
    }

    /// Whether the output bridges the time without media.
    pub(super) fn set_holding(&self, is_holding: bool) {
        self.is_holding.store(is_holding, Ordering::Relaxed);
    }

    pub(crate) fn is_holding(&self) -> bool {
        self.is_holding.load(Ordering::Relaxed)
    }

    fn replace(&self, source: Source) {
        self.is_silent.store(false, Ordering::Relaxed);
        let before = self.bytes();
        let mut connection = self.connection.lock();
        *connection = Connection {
            source,
            before,
            retransmitted_before: connection.retransmitted(),
            ..Connection::default()
        };
    }

    /// The queue from which the output sends, which may be that of the connection before.
    pub(super) fn observe(&self, queue: &Arc<OutputQueue>) {
        let before = self.queue.lock().replace(Arc::clone(queue));
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, queue)) {
            self.dropped_before
                .fetch_add(before.dropped(), Ordering::Relaxed);
        }
    }

    /// Media follows after this number of written bytes.
    pub(super) fn media_begins(&self, total_written: u64) {
        let mut connection = self.connection.lock();
        let begin = connection.source.position(total_written);
        connection.media = begin.map(MediaBytes::begin_at);
    }

    /// The position at which the next byte is written, after this number of written bytes;
    /// `None` if it is unknown.
    pub(super) fn position(&self, total_written: u64) -> Option<u64> {
        self.connection.lock().source.position(total_written)
    }

    /// What was written between two positions is no media.
    pub(super) fn exclude(&self, start: Option<u64>, end: Option<u64>) {
        if let (Some(media), Some(start), Some(end)) =
            (&mut self.connection.lock().media, start, end)
        {
            media.exclude(start..end);
        }
    }

    pub(super) fn wrote(&self, total_written: u64) {
        if let Source::Rtmp { written, .. } = &mut self.connection.lock().source {
            *written = total_written;
        }
    }

    /// The RTMP server has acknowledged this number of bytes.
    pub(super) fn peer_acknowledged(&self, sequence: u32) {
        if let Source::Rtmp {
            acknowledged,
            written,
        } = &mut self.connection.lock().source
        {
            // The sequence number wraps.
            let before = acknowledged.unwrap_or_default();
            let [.., a, b, c, d] = before.to_be_bytes();
            let grown = sequence.wrapping_sub(u32::from_be_bytes([a, b, c, d]));
            if grown < 1 << 31 {
                *acknowledged = Some((before + u64::from(grown)).min((*written).max(before)));
            }
        }
    }

    /// The number of acknowledged bytes of media, over all connections. It never decreases.
    pub(crate) fn bytes(&self) -> u64 {
        let now = self.connection.lock().delivered();
        self.acknowledged.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Whether media waits to be acknowledged: then the destination is the cause if none is.
    pub(crate) fn is_waiting(&self) -> bool {
        let outstanding = match &self.connection.lock().source {
            Source::Tcp(info) => info.bytes().is_ok_and(|bytes| bytes.outstanding > 0),
            _ => false,
        };
        outstanding
            || self
                .queue
                .lock()
                .as_ref()
                .is_some_and(|queue| !queue.is_empty())
    }

    /// Whether the destination answers nothing over TCP, not even that it cannot receive.
    pub(super) fn check_silence(&self) -> bool {
        let is_silent = match &self.connection.lock().source {
            Source::Tcp(info) => info
                .bytes()
                .is_ok_and(|bytes| bytes.unanswered >= SILENCE_TIMEOUT),
            _ => false,
        };
        self.is_silent.store(is_silent, Ordering::Relaxed);
        is_silent
    }

    /// Whether it was silent when it was last checked, which may have ended the connection.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// The number of bytes that the kernel of this machine has not sent yet; 0 if unknown.
    pub(super) fn unsent(&self) -> u64 {
        match &self.connection.lock().source {
            Source::Tcp(info) => info.bytes().map_or(0, |bytes| bytes.unsent),
            _ => 0,
        }
    }

    /// How well media is delivered now.
    pub(crate) fn quality(&self) -> DeliveryQuality {
        let retransmitted_segments = self.connection.lock().retransmitted();
        let queue = self.queue.lock();
        let before = self.dropped_before.load(Ordering::Relaxed);
        let (dropped_packets, lag_ms) = queue.as_ref().map_or((before, 0), |queue| {
            (before + queue.dropped(), queue.lag_ms())
        });
        DeliveryQuality {
            lag_ms,
            dropped_packets,
            retransmitted_segments,
        }
    }
}

impl Connection {
    fn delivered(&mut self) -> u64 {
        let Some(media) = &mut self.media else {
            return self.before;
        };
        let position = self.source.acknowledged();
        self.before + position.map_or(0, |position| media.before(position))
    }

    /// The segments that were sent again, over all connections. It never decreases.
    fn retransmitted(&mut self) -> u64 {
        if let Source::Tcp(info) = &self.source
            && let Ok(bytes) = info.bytes()
        {
            self.retransmitted = self.retransmitted.max(bytes.retransmitted_segments);
        }
        self.retransmitted_before + self.retransmitted
    }
}

impl Source {
    /// The position after this number of written bytes.
    fn position(&self, total_written: u64) -> Option<u64> {
        match self {
            Self::Tcp(info) => {
                let bytes = info.bytes().ok()?;
                Some(bytes.acknowledged + bytes.outstanding)
            }
            Self::Rtmp { .. } => Some(total_written),
            Self::None | Self::Process(_) => None,
        }
    }

    /// The position up to which all bytes are acknowledged.
    fn acknowledged(&self) -> Option<u64> {
        match self {
            Self::Tcp(info) => Some(info.bytes().ok()?.acknowledged),
            Self::Rtmp {
                written,
                acknowledged,
            } => Some(acknowledged.unwrap_or(*written)),
            Self::Process(bytes) => Some(bytes.load(Ordering::Relaxed)),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, Delivery, MediaBytes, Source};

    fn counting(written: u64, acknowledged: Option<u64>) -> Delivery {
        let delivery = Delivery::default();
        *delivery.connection.lock() = Connection {
            source: Source::Rtmp {
                written,
                acknowledged,
            },
            media: Some(MediaBytes::begin_at(0)),
            ..Connection::default()
        };
        delivery
    }

    #[test]
    fn acknowledgements_of_rtmp_wrap() {
        let acknowledged = Some(u64::from(u32::MAX) - 999_999);
        let delivery = counting(u64::from(u32::MAX) + 3_000_000, acknowledged);
        delivery.peer_acknowledged(1_000_000);
        assert_eq!(delivery.bytes(), u64::from(u32::MAX) + 1_000_001);
        // A server cannot have received more than was written, and takes nothing back.
        delivery.peer_acknowledged(9_000_000);
        assert_eq!(delivery.bytes(), u64::from(u32::MAX) + 3_000_000);
        delivery.peer_acknowledged(2_000_000);
        assert_eq!(delivery.bytes(), u64::from(u32::MAX) + 3_000_000);
    }

    #[test]
    fn replies_to_a_destination_are_no_delivered_media() {
        let delivery = counting(1_000, None);
        assert_eq!(delivery.bytes(), 1_000);
        let start = delivery.position(1_000);
        delivery.wrote(1_018);
        delivery.exclude(start, delivery.position(1_018));
        assert_eq!(delivery.bytes(), 1_000);
        delivery.wrote(1_118);
        assert_eq!(delivery.bytes(), 1_100);
    }

    #[test]
    fn the_bytes_of_another_connection_are_added() {
        let delivery = counting(1_000, None);
        delivery.replace(Source::Rtmp {
            written: 0,
            acknowledged: None,
        });
        assert_eq!(delivery.bytes(), 1_000);
        delivery.media_begins(3_000);
        delivery.wrote(3_500);
        assert_eq!(delivery.bytes(), 1_500);
    }

    #[test]
    fn the_segments_that_earlier_connections_sent_again_are_added() {
        let delivery = counting(0, None);
        for segments in [3, 4] {
            delivery.connection.lock().retransmitted = segments;
            delivery.replace(Source::default());
        }
        assert_eq!(delivery.quality().retransmitted_segments, 7);
    }
}
