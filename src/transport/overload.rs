use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long the overload lasts after the last refused call.
const OVERLOAD_DURATION: Duration = Duration::from_millis(100);

/// Whether the server refuses calls because there are too many. A clone shares it.
#[derive(Debug, Clone)]
pub struct Overload(Arc<State>);

#[derive(Debug)]
struct State {
    created_at: Instant,
    /// Milliseconds from `created_at` to the end of the overload.
    until: AtomicU64,
}

impl Default for Overload {
    /// No overload.
    fn default() -> Self {
        Self(Arc::new(State {
            created_at: Instant::now(),
            until: AtomicU64::new(0),
        }))
    }
}

impl Overload {
    /// Records that a call was refused now.
    pub fn record_refusal(&self) {
        let until = self.millis_in(OVERLOAD_DURATION);
        self.0.until.store(until, Ordering::Relaxed);
    }

    /// Whether a call was refused within the last 100 ms.
    pub(crate) fn is_active(&self) -> bool {
        let until = self.0.until.load(Ordering::Relaxed);
        until > 0 && until > self.millis_in(Duration::ZERO)
    }

    fn millis_in(&self, delay: Duration) -> u64 {
        let at = self.0.created_at.elapsed() + delay;
        u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
    }
}
