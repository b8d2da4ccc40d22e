use std::time::{Duration, Instant};

use crate::auth::Revocations;

/// The quiet period before missing reports count as silence.
///
/// After a start, and after the database was unavailable, no report could arrive. A job
/// that expires silent streams or relays then waits for one report timeout, so that
/// media servers and relay workers can report first.
#[derive(Debug)]
pub(super) struct QuietPeriod {
    /// While they are out of date, calls are refused, so no report arrives.
    revocations: Revocations,
    duration: Duration,
    started_at: Option<Instant>,
}

impl QuietPeriod {
    /// A quiet period of this duration: the report timeout.
    pub fn new(revocations: Revocations, duration: Duration) -> Self {
        Self {
            revocations,
            duration,
            started_at: None,
        }
    }

    /// Whether the quiet period is over. The first call starts it.
    pub fn is_over(&mut self) -> bool {
        if !self.revocations.are_current() {
            self.started_at = None;
            return false;
        }
        let started_at = self.started_at.get_or_insert_with(Instant::now);
        started_at.elapsed() >= self.duration
    }

    /// Starts again, because no report could arrive.
    pub fn restart(&mut self) {
        self.started_at = None;
    }
}
