use std::{sync::LazyLock, time::Instant};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::registry::{counter, gauge, seconds};

/// Histogram bounds for the time that a password occupies a thread, in seconds.
const DURATION_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The hashing of passwords.
pub static PASSWORDS: LazyLock<PasswordMetrics> = LazyLock::new(PasswordMetrics::new);

/// See [`PASSWORDS`].
#[derive(Debug)]
pub struct PasswordMetrics {
    /// Passwords that wait for a thread.
    pub waiting: IntGauge,
    running: IntGauge,
    /// Calls refused because the queue was full.
    pub refused: IntCounter,
    durations: Histogram,
}

/// The hashing of one password, until dropped.
#[derive(Debug)]
pub struct HashRun {
    started_at: Instant,
}

impl PasswordMetrics {
    fn new() -> Self {
        Self {
            waiting: gauge(
                "sluice_password_queue_waiting",
                "Passwords that wait for a thread.",
            ),
            running: gauge(
                "sluice_password_queue_running",
                "Passwords that are hashed or checked now.",
            ),
            refused: counter(
                "sluice_password_queue_refused_total",
                "Calls refused because the queue was full.",
            ),
            durations: seconds(
                "sluice_password_hash_seconds",
                "Time that a password occupied a thread.",
                &DURATION_BUCKETS,
            ),
        }
    }

    /// Counts a password as running until the guard is dropped.
    pub fn start_run(&self) -> HashRun {
        self.running.inc();
        HashRun {
            started_at: Instant::now(),
        }
    }
}

impl Drop for HashRun {
    fn drop(&mut self) {
        PASSWORDS.running.dec();
        let duration = self.started_at.elapsed().as_secs_f64();
        PASSWORDS.durations.observe(duration);
    }
}
