use std::sync::atomic::{AtomicU64, Ordering};

/// What became of connections, counted since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Accepted, and given a place.
    pub accepted: Count,
    /// Closed at once: there were as many as there may be.
    pub refused_full: Count,
    /// Closed at once: there were as many from their address as there may be.
    pub refused_address: Count,
    /// Closed for others, because they had not shown yet what they speak.
    pub crowded_out: Count,
    /// Closed because they did not show in time what they speak, or something strange.
    pub failed_handshakes: Count,
    /// Sent away because of their age.
    pub aged: Count,
    /// Sent away because nobody called.
    pub idle: Count,
    /// Ended, of those that were accepted.
    pub ended: Count,
}

/// How often something happened.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Once more.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    /// How many connections there are now.
    pub fn open(&self) -> u64 {
        let ended = self.ended.get();
        self.accepted.get().saturating_sub(ended)
    }
}
