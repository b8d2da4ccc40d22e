use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::metrics::LIVE;

/// The connections of a listener, counted since the start, and shown as metrics.
#[derive(Debug, Default)]
pub struct Tally {
    accepted: AtomicU64,
    ended: AtomicU64,
}

/// Why a connection was closed that could have gone on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There are as many as there may be.
    Full,
    /// There are as many from its address as there may be.
    Address,
    /// Others needed its place, and it had not shown yet what it speaks.
    CrowdedOut,
    /// It did not show in time what it speaks, or something strange.
    Handshake,
    /// It was old.
    Age,
    /// Nobody called.
    Idle,
}

impl Tally {
    /// A connection was accepted, and given a place.
    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        LIVE.accepted.inc();
        LIVE.connections.inc();
    }

    /// One of those has ended.
    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        LIVE.connections.dec();
    }

    /// How many were accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many of them are open.
    pub fn open(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        self.accepted().saturating_sub(ended)
    }
}

impl Cause {
    /// Counts a connection that is closed for it.
    pub(super) fn count(self) {
        let name = match self {
            Self::Full => "full",
            Self::Address => "address",
            Self::CrowdedOut => "crowded_out",
            Self::Handshake => "handshake",
            Self::Age => "age",
            Self::Idle => "idle",
        };
        LIVE.turned_away.with_label_values(&[name]).inc();
    }
}
