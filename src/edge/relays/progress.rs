use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::proto::v1::RelayState;

/// The time without more bytes after which a relay is reported as stalled.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The time after which a broadcast proves that the destination accepts the key. One that
/// does not may take a stream for some seconds.
pub(super) const PROVEN_BROADCAST: Duration = Duration::from_secs(10);

/// The time over which the bitrate is measured.
const BITRATE_WINDOW: Duration = Duration::from_secs(5);

/// The progress of a relay, from the number of bytes that the destination has received.
#[derive(Debug)]
pub(super) struct Progress {
    last_growth: Instant,
    samples: VecDeque<(Instant, u64)>,
}

impl Progress {
    /// A relay that has sent nothing.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_growth: now,
            samples: VecDeque::from([(now, 0)]),
        }
    }

    pub(super) fn sample(&mut self, bytes: u64, now: Instant) {
        if bytes > self.bytes() {
            self.last_growth = now;
        }
        self.samples.push_back((now, bytes));
        // The newest sample that is older than the window is its beginning.
        while matches!(self.samples.get(1), Some((at, _)) if now - *at >= BITRATE_WINDOW) {
            self.samples.pop_front();
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.samples.back().map_or(0, |(_, bytes)| *bytes)
    }

    /// The bitrate in the window, in bits per second.
    pub(super) fn bitrate(&self) -> u64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let milliseconds = (last.0 - first.0).as_millis().max(1);
        let bits = u128::from(last.1.saturating_sub(first.1)) * 8;
        u64::try_from(bits * 1000 / milliseconds).unwrap_or(u64::MAX)
    }

    pub(super) fn state(&self, now: Instant) -> RelayState {
        match self.bytes() {
            0 => RelayState::Starting,
            _ if now - self.last_growth >= STALL_TIMEOUT => RelayState::Stalled,
            _ => RelayState::Broadcasting,
        }
    }

    /// Whether no more bytes have come for this time.
    pub(super) fn has_stopped(&self, timeout: Duration, now: Instant) -> bool {
        now - self.last_growth >= timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_relay_starts_broadcasts_stalls_and_broadcasts_again_by_its_bytes() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        for (second, bytes, state) in [
            (1, 0, RelayState::Starting),
            (9, 0, RelayState::Starting),
            (10, 500, RelayState::Broadcasting),
            (14, 500, RelayState::Broadcasting),
            (15, 500, RelayState::Stalled),
            (16, 501, RelayState::Broadcasting),
        ] {
            let now = start + SECOND * second;
            progress.sample(bytes, now);
            assert_eq!(progress.state(now), state, "after {second} s");
        }
    }

    #[test]
    fn a_relay_has_stopped_after_the_timeout_without_more_bytes() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        progress.sample(10, start + SECOND);
        progress.sample(10, start + SECOND * 20);
        assert!(!progress.has_stopped(SECOND * 20, start + SECOND * 20));
        assert!(progress.has_stopped(SECOND * 20, start + SECOND * 21));
    }

    #[test]
    fn a_relay_that_never_sent_has_stopped_after_the_timeout() {
        let start = Instant::now();
        assert!(Progress::new(start).has_stopped(SECOND, start + SECOND));
    }

    #[test]
    fn the_bitrate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        for second in 1..=10 {
            progress.sample(u64::from(second) * 1000, start + SECOND * second);
        }
        assert_eq!(progress.bitrate(), 8000);
        for second in 11..=20 {
            progress.sample(10_000, start + SECOND * second);
        }
        assert_eq!(progress.bitrate(), 0);
    }
}
