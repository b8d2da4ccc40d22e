use std::{sync::LazyLock, time::Instant};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::registry::{counter, gauge, seconds};

/// Bounds of how long a password keeps a thread, in seconds.
const DURATIONS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The hashing of passwords.
pub static PASSWORDS: LazyLock<Passwords> = LazyLock::new(Passwords::new);

/// See [`PASSWORDS`].
#[derive(Debug)]
pub struct Passwords {
    waiting: IntGauge,
    running: IntGauge,
    refused: IntCounter,
    durations: Histogram,
}

/// Work on a password, which is over when this is dropped.
#[derive(Debug)]
pub struct HashRun {
    begun: Instant,
}

impl Passwords {
    fn new() -> Self {
        Self {
            waiting: gauge(
                "sluice_password_queue_waiting",
                "Passwords that wait for a thread.",
            ),
            running: gauge(
                "sluice_password_queue_running",
                "Passwords that are hashed or judged now.",
            ),
            refused: counter(
                "sluice_password_queue_refused_total",
                "Calls that were sent away because the queue was full.",
            ),
            durations: seconds(
                "sluice_password_hash_seconds",
                "How long a password kept a thread.",
                &DURATIONS,
            ),
        }
    }

    /// Counts a call that finds no place.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// Counts a password that begins to wait.
    pub fn queued(&self) {
        self.waiting.inc();
    }

    /// Counts a password that need not wait any more; nothing may be done with it.
    pub fn taken(&self) {
        self.waiting.dec();
    }

    /// Counts a password that is worked on from now on.
    pub fn run(&self) -> HashRun {
        self.running.inc();
        HashRun {
            begun: Instant::now(),
        }
    }
}

impl Drop for HashRun {
    fn drop(&mut self) {
        PASSWORDS.running.dec();
        let duration = self.begun.elapsed().as_secs_f64();
        PASSWORDS.durations.observe(duration);
    }
}
