use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::metrics::SERVER;

/// The connections of a listener since its start; also in the metrics of the process.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    accepted: AtomicU64,
    closed: AtomicU64,
}

/// Why the server refused or closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseCause {
    /// The limit of all connections was reached.
    TotalLimit,
    /// The limit of connections from its address was reached.
    AddressLimit,
    /// The limit of anonymous connections from its address was reached.
    AnonymousLimit,
    /// Its address opens connections too fast.
    PaceLimit,
    /// Its pending handshake was the oldest, and a new connection needed the room.
    HandshakeEvicted,
    /// The handshake failed, took too long, or led to another protocol.
    HandshakeFailed,
    /// It reached its maximum age.
    MaxAge,
    /// It had no call for the idle timeout.
    Idle,
    /// None of its calls had succeeded for the timeout of unused connections.
    Unused,
    /// Its peer did not read a response.
    Unread,
    /// It sent too many frames that carry no request.
    FrameFlood,
    /// It left a frame or a header block incomplete.
    Incomplete,
    /// Its peer violated too many limits.
    Misuse,
}

impl ConnectionMetrics {
    /// Counts a connection that was accepted and admitted.
    pub(super) fn opened(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        SERVER.accepted.inc();
        SERVER.connections.inc();
    }

    /// Counts the end of an admitted connection.
    pub(super) fn closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        SERVER.connections.dec();
    }

    /// The number of admitted connections.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The number of connections that are open.
    pub fn open(&self) -> u64 {
        let closed = self.closed.load(Ordering::Relaxed);
        self.accepted().saturating_sub(closed)
    }
}

impl CloseCause {
    /// Counts a connection that is closed for this cause.
    pub(super) fn count(self) {
        let label = match self {
            Self::TotalLimit => "full",
            Self::AddressLimit => "address",
            Self::AnonymousLimit => "anonymous",
            Self::PaceLimit => "pace",
            Self::HandshakeEvicted => "crowded_out",
            Self::HandshakeFailed => "handshake",
            Self::MaxAge => "age",
            Self::Idle => "idle",
            Self::Unused => "unused",
            Self::Unread => "unread",
            Self::FrameFlood => "frames",
            Self::Incomplete => "incomplete",
            Self::Misuse => "misuse",
        };
        SERVER.refused_connections.with_label_values(&[label]).inc();
    }
}
