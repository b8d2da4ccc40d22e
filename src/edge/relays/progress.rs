use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::proto::v1::RelayState;

/// After how long without more bytes a relay is said to stall.
const STALL: Duration = Duration::from_secs(5);

/// Over how long the bitrate is measured.
const WINDOW: Duration = Duration::from_secs(5);

/// What the bytes that the far side has taken say of a relay.
#[derive(Debug)]
pub(super) struct Progress {
    grown: Instant,
    samples: VecDeque<(Instant, u64)>,
}

impl Progress {
    /// Nothing is sent yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            grown: now,
            samples: VecDeque::from([(now, 0)]),
        }
    }

    /// Takes the number of bytes so far.
    pub(super) fn see(&mut self, bytes: u64, now: Instant) {
        if bytes > self.bytes() {
            self.grown = now;
        }
        self.samples.push_back((now, bytes));
        // One that is older than the window is where the window begins.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now - *at >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// The number of bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.samples.back().map_or(0, |(_, bytes)| *bytes)
    }

    /// Bits per second within the window.
    pub(super) fn bitrate(&self) -> u64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let milliseconds = (last.0 - first.0).as_millis().max(1);
        let bits = u128::from(last.1.saturating_sub(first.1)) * 8;
        u64::try_from(bits * 1000 / milliseconds).unwrap_or(u64::MAX)
    }

    /// What the relay does.
    pub(super) fn state(&self, now: Instant) -> RelayState {
        match self.bytes() {
            0 => RelayState::Starting,
            _ if now - self.grown >= STALL => RelayState::Stalled,
            _ => RelayState::Broadcasting,
        }
    }

    /// Whether it was without more bytes for so long.
    pub(super) fn is_over(&self, patience: Duration, now: Instant) -> bool {
        now - self.grown >= patience
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
            progress.see(bytes, now);
            assert_eq!(progress.state(now), state, "after {second} s");
        }
    }

    #[test]
    fn patience_ends_that_long_after_the_last_growth() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        progress.see(10, start + SECOND);
        progress.see(10, start + SECOND * 20);
        assert!(!progress.is_over(SECOND * 20, start + SECOND * 20));
        assert!(progress.is_over(SECOND * 20, start + SECOND * 21));
    }

    #[test]
    fn patience_also_ends_where_nothing_was_ever_sent() {
        let start = Instant::now();
        assert!(Progress::new(start).is_over(SECOND, start + SECOND));
    }

    #[test]
    fn the_bitrate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        for second in 1..=10 {
            progress.see(u64::from(second) * 1000, start + SECOND * second);
        }
        assert_eq!(progress.bitrate(), 8000);
        for second in 11..=20 {
            progress.see(10_000, start + SECOND * second);
        }
        assert_eq!(progress.bitrate(), 0);
    }
}
