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
        if let Source::Rtmp { acknowledged, .. } = &mut *self.source.lock() {
            *acknowledged = Some(u64::from(sequence));
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

    /// The number of packets that were dropped because the destination is too slow, and the
    /// media that waits, in milliseconds.
    pub(crate) fn drops_and_lag(&self) -> (u64, i64) {
        let queue = self.queue.lock();
        queue
            .as_ref()
            .map_or((0, 0), |queue| (queue.dropped(), queue.lag_ms()))
    }
}
