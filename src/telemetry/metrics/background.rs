use std::{
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::registry::{counters, fractions, seconds_by};

/// The jobs that run again and again; mail may be off.
const JOBS: [&str; 6] = [
    "event_pruning",
    "mailer",
    "purge",
    "reaper",
    "relay_watch",
    "trust",
];

/// Bounds of how long a run of a job takes, in seconds.
const DURATIONS: [f64; 8] = [0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];

/// What happens while nobody calls.
pub static BACKGROUND: LazyLock<Background> = LazyLock::new(Background::new);

/// See [`BACKGROUND`].
#[derive(Debug)]
pub struct Background {
    runs: IntCounterVec,
    failures: IntCounterVec,
    durations: HistogramVec,
    successes: GaugeVec,
    messages: IntCounterVec,
}

impl Background {
    fn new() -> Self {
        // Prometheus calls what it scrapes a job.
        let of_job = &["name"];
        let background = Self {
            runs: counters(
                "sluice_job_runs_total",
                "Runs of a job that are over.",
                of_job,
            ),
            failures: counters("sluice_job_failures_total", "Those that failed.", of_job),
            durations: seconds_by(
                "sluice_job_duration_seconds",
                "How long a run took.",
                &DURATIONS,
                of_job,
            ),
            successes: fractions(
                "sluice_job_last_success_timestamp_seconds",
                "When the last run that did not fail was over; 0 if there was none.",
                of_job,
            ),
            messages: counters(
                "sluice_mail_attempts_total",
                "Messages that were sent, that failed and are tried again, and that were given up.",
                &["outcome"],
            ),
        };
        for job in JOBS {
            background.runs.with_label_values(&[job]);
            background.failures.with_label_values(&[job]);
        }
        for outcome in ["sent", "failed", "given_up"] {
            background.messages.with_label_values(&[outcome]);
        }
        background
    }

    /// Counts an attempt to send a message: `sent`, `failed` or `given_up`.
    pub fn message(&self, outcome: &'static str) {
        self.messages.with_label_values(&[outcome]).inc();
    }
}

/// A run of a job, from now on. One that is dropped is not counted.
pub fn job(name: &'static str) -> JobRun {
    JobRun {
        name,
        begun: Instant::now(),
    }
}

/// See [`job`].
#[derive(Debug)]
#[must_use]
pub struct JobRun {
    name: &'static str,
    begun: Instant,
}

impl JobRun {
    /// Counts the run, which is over.
    pub fn over(self, is_success: bool) {
        let (job, metrics) = ([self.name], &BACKGROUND);
        metrics.runs.with_label_values(&job).inc();
        let duration = self.begun.elapsed().as_secs_f64();
        metrics.durations.with_label_values(&job).observe(duration);
        let last_success = metrics.successes.with_label_values(&job);
        if is_success {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or_default().as_secs_f64();
            last_success.set(now);
        } else {
            metrics.failures.with_label_values(&job).inc();
        }
    }
}
