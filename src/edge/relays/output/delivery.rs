use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::tcp_info::TcpInfo;
use crate::edge::relays::media::OutputQueue;

/// The bytes of media that a destination has acknowledged.
///
/// Over TCP these are the bytes that its kernel has acknowledged, with the headers of RTMP
/// and TLS. If the kernel of this machine does not tell them, those that its RTMP server
/// acknowledges count, and without these the written ones. Over SRT those count that
/// ffmpeg has given to libsrt, which fails without acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    source: Mutex<Source>,
    queue: Mutex<Option<Arc<OutputQueue>>>,
    acknowledged: AtomicU64,
}

/// How well media is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DeliveryQuality {
    /// The media that waits to be sent, in milliseconds.
    pub(crate) lag_ms: i64,
    /// Packets that were dropped because the destination was too slow.
    pub(crate) dropped_packets: u64,
    /// TCP segments that were sent again; 0 if unknown.
    pub(crate) retransmitted_segments: u64,
}

#[derive(Debug, Default)]
enum Source {
    /// There is no connection yet.
    #[default]
    None,
    Tcp {
        info: TcpInfo,
        /// The bytes before the first media.
        before: Option<u64>,
    },
    Rtmp {
        /// The bytes before the first media.
        before: Option<u64>,
        written: u64,
        acknowledged: Option<u64>,
    },
    Process(Arc<AtomicU64>),
}

impl Delivery {
    /// The output has connected over TCP.
    pub(super) fn connected(&self, local: SocketAddr, peer: SocketAddr) {
        let info = TcpInfo::of(local, peer).and_then(|info| info.bytes().map(|_| info));
        *self.source.lock() = match info {
            Ok(info) => Source::Tcp { info, before: None },
            Err(error) => {
                tracing::warn!(%error, "cannot read acknowledged bytes, counting written ones");
                Source::Rtmp {
                    before: None,
                    written: 0,
                    acknowledged: None,
                }
            }
        };
    }

    /// The output has started a process, which counts its bytes.
    pub(super) fn process_started(&self, bytes: Arc<AtomicU64>) {
        *self.source.lock() = Source::Process(bytes);
    }

    /// The output sends the packets of a queue.
    pub(super) fn observe(&self, queue: &Arc<OutputQueue>) {
        *self.queue.lock() = Some(Arc::clone(queue));
    }

    /// Media follows after this number of written bytes.
    pub(super) fn media_begins(&self, total_written: u64) {
        match &mut *self.source.lock() {
            Source::Tcp { info, before } => {
                let bytes = info.bytes().ok();
                *before = bytes.map(|bytes| bytes.acknowledged + bytes.outstanding);
            }
            Source::Rtmp { before, .. } => *before = Some(total_written),
            Source::None | Source::Process(_) => {}
        }
    }

    pub(super) fn wrote(&self, total_written: u64) {
        if let Source::Rtmp { written, .. } = &mut *self.source.lock() {
            *written = total_written;
        }
    }

    /// The RTMP server has acknowledged this number of bytes.
    pub(super) fn peer_acknowledged(&self, sequence: u32) {
        if let Source::Rtmp {
            acknowledged,
            written,
            ..
        } = &mut *self.source.lock()
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

    /// The number of acknowledged bytes of media. It never decreases.
    pub(crate) fn bytes(&self) -> u64 {
        let now = match &*self.source.lock() {
            Source::Tcp {
                info,
                before: Some(before),
            } => info
                .bytes()
                .ok()
                .map(|bytes| bytes.acknowledged.saturating_sub(*before)),
            Source::Rtmp {
                before: Some(before),
                written,
                acknowledged,
            } => Some(acknowledged.unwrap_or(*written).saturating_sub(*before)),
            Source::Process(bytes) => Some(bytes.load(Ordering::Relaxed)),
            _ => None,
        };
        let now = now.unwrap_or_default();
        self.acknowledged.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Whether media waits to be acknowledged: then the destination is the cause if none is.
    pub(crate) fn is_waiting(&self) -> bool {
        let outstanding = match &*self.source.lock() {
            Source::Tcp { info, .. } => info.bytes().is_ok_and(|bytes| bytes.outstanding > 0),
            _ => false,
        };
        outstanding
            || self
                .queue
                .lock()
                .as_ref()
                .is_some_and(|queue| !queue.is_empty())
    }

    /// The number of bytes that the kernel of this machine has not sent yet; 0 if unknown.
    pub(super) fn unsent(&self) -> u64 {
        match &*self.source.lock() {
            Source::Tcp { info, .. } => info.bytes().map_or(0, |bytes| bytes.unsent),
            _ => 0,
        }
    }

    /// How well media is delivered now.
    pub(crate) fn quality(&self) -> DeliveryQuality {
        let retransmitted_segments = match &*self.source.lock() {
            Source::Tcp { info, .. } => {
                info.bytes().map_or(0, |bytes| bytes.retransmitted_segments)
            }
            _ => 0,
        };
        let queue = self.queue.lock();
        let (dropped_packets, lag_ms) = queue
            .as_ref()
            .map_or((0, 0), |queue| (queue.dropped(), queue.lag_ms()));
        DeliveryQuality {
            lag_ms,
            dropped_packets,
            retransmitted_segments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Delivery, Source};

    #[test]
    fn acknowledgements_of_rtmp_wrap() {
        let delivery = Delivery::default();
        *delivery.source.lock() = Source::Rtmp {
            before: Some(0),
            written: u64::from(u32::MAX) + 3_000_000,
            acknowledged: Some(u64::from(u32::MAX) - 999_999),
        };
        delivery.peer_acknowledged(1_000_000);
        assert_eq!(delivery.bytes(), u64::from(u32::MAX) + 1_000_001);
        // A server cannot have received more than was written, and takes nothing back.
        delivery.peer_acknowledged(9_000_000);
        assert_eq!(delivery.bytes(), u64::from(u32::MAX) + 3_000_000);
        delivery.peer_acknowledged(2_000_000);
        assert_eq!(delivery.bytes(), u64::from(u32::MAX) + 3_000_000);
    }
}
