use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// For how long after a refusal there is pressure.
const LINGERS: Duration = Duration::from_millis(100);

/// Whether calls are refused because there are too many. A clone shares it.
#[derive(Debug, Clone)]
pub struct Pressure(Arc<State>);

#[derive(Debug)]
struct State {
    begun: Instant,
    /// Milliseconds from the beginning to the end of the pressure.
    until: AtomicU64,
}

impl Default for Pressure {
    /// None yet.
    fn default() -> Self {
        Self(Arc::new(State {
            begun: Instant::now(),
            until: AtomicU64::new(0),
        }))
    }
}

impl Pressure {
    /// A call was refused.
    pub fn feel(&self) {
        self.0.until.store(self.at(LINGERS), Ordering::Relaxed);
    }

    /// Whether one was refused of late.
    pub(crate) fn is_felt(&self) -> bool {
        let until = self.0.until.load(Ordering::Relaxed);
        until > 0 && until > self.at(Duration::ZERO)
    }

    fn at(&self, later: Duration) -> u64 {
        let at = self.0.begun.elapsed() + later;
        u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
    }
}
