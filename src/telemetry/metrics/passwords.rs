use std::time::Instant;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::registry::{counter, gauge, metrics, seconds};

/// Histogram bounds for the time that a password occupies a thread, in seconds.
const DURATION_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

metrics! {
    /// The hashing of passwords.
    pub static PASSWORDS: PasswordMetrics {
        waiting: IntGauge =
            gauge("sluice_password_queue_waiting", "Passwords that wait for a thread.");
        running: IntGauge =
            gauge("sluice_password_queue_running", "Passwords that are hashed or checked now.");
        refused: IntCounter = counter(
            "sluice_password_queue_refused_total",
            "Calls refused because the queue was full.",
        );
        address_refused: IntCounter = counter(
            "sluice_password_queue_address_refused_total",
            "Calls refused because their address used its share of the queue.",
        );
        durations: Histogram = seconds(
            "sluice_password_hash_seconds",
            "Time that a password occupied a thread.",
            &DURATION_BUCKETS,
        );
    }
}

/// The hashing of one password, until dropped.
#[derive(Debug)]
pub struct HashRun {
    started_at: Instant,
}

impl PasswordMetrics {
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
