use std::time::{Duration, Instant};

/// Limits a log line to one per interval, and counts what it leaves out.
#[derive(Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    last: Option<Instant>,
    pending: u64,
}

impl Throttle {
    /// At most one line per interval.
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
            pending: 0,
        }
    }

    /// Counts one occurrence. Returns the number of occurrences since the last line if
    /// a line is due now.
    pub fn record(&mut self) -> Option<u64> {
        self.record_at(Instant::now())
    }

    fn record_at(&mut self, now: Instant) -> Option<u64> {
        self.pending += 1;
        let is_due = |last: Instant| now.duration_since(last) >= self.interval;
        if !self.last.is_none_or(is_due) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_has_the_number_of_occurrences() {
        let mut throttle = Throttle::new(Duration::from_secs(1));
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);

        assert_eq!(throttle.record_at(start), Some(1));
        assert_eq!(throttle.record_at(after(1)), None);
        assert_eq!(throttle.record_at(after(999)), None);
        assert_eq!(throttle.record_at(after(1000)), Some(3));
    }
}
