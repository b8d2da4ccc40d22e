use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::registry::{counters_with, fractions, metrics, seconds_by};

/// The periodic jobs; the mailer runs only if mail is on.
const JOB_NAMES: [&str; 11] = [
    "account_deletion",
    "event_pruning",
    "mailer",
    "media_health",
    "purge",
    "purge_deleted",
    "reaper",
    "relay_watch",
    "suspension",
    "trust",
    "webhooks",
];

/// Histogram bounds for the duration of a run, in seconds.
const DURATION_BUCKETS: [f64; 8] = [0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];

/// Not `job`: Prometheus uses that label for its scrape jobs.
const LABEL: &str = "name";

metrics! {
    /// The runs of the periodic jobs, and the e-mail that one of them sends.
    pub static JOBS: JobMetrics {
        runs: IntCounterVec =
            counters_with("sluice_job_runs_total", "Completed runs of a job.", LABEL, &JOB_NAMES);
        failures: IntCounterVec =
            counters_with("sluice_job_failures_total", "Failed runs of a job.", LABEL, &JOB_NAMES);
        durations: HistogramVec = seconds_by(
            "sluice_job_duration_seconds",
            "Duration of a run of a job.",
            &DURATION_BUCKETS,
            &[LABEL],
        );
        last_success: GaugeVec = fractions(
            "sluice_job_last_success_timestamp_seconds",
            "End of the last successful run of a job; 0 if there was none.",
            &[LABEL],
        );
        mail_attempts: IntCounterVec = counters_with(
            "sluice_mail_attempts_total",
            "Attempts to send an e-mail message: sent, failed and tried again, or given up.",
            "outcome",
            &["sent", "failed", "given_up"],
        );
    }
}

impl JobMetrics {
    /// Counts an attempt to send an e-mail message: `sent`, `failed` or `given_up`.
    pub fn mail_attempt(&self, outcome: &'static str) {
        self.mail_attempts.with_label_values(&[outcome]).inc();
    }
}

/// Starts the runs of a job at an interval.
#[derive(Debug)]
pub struct JobTimer {
    name: &'static str,
    ticks: Interval,
}

impl JobTimer {
    /// A timer whose first run starts at once.
    pub fn new(name: &'static str, period: Duration) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { name, ticks }
    }

    /// Waits for the time of the next run.
    pub async fn next_run(&mut self) -> JobRun {
        self.next_run_after(async {}).await
    }

    /// Waits for the time of the next run, then for a condition.
    pub async fn next_run_after(&mut self, condition: impl Future<Output = ()>) -> JobRun {
        self.ticks.tick().await;
        condition.await;
        JobRun::start(self.name)
    }
}

/// A run of a job. A run that is dropped is not counted.
#[derive(Debug)]
#[must_use]
pub struct JobRun {
    name: &'static str,
    started_at: Instant,
}

impl JobRun {
    /// A run that starts now.
    pub fn start(name: &'static str) -> Self {
        Self {
            name,
            started_at: Instant::now(),
        }
    }

    /// Counts the run as completed.
    pub fn finish(self, is_success: bool) {
        let (job, metrics) = ([self.name], &JOBS);
        metrics.runs.with_label_values(&job).inc();
        let duration = self.started_at.elapsed().as_secs_f64();
        metrics.durations.with_label_values(&job).observe(duration);
        let last_success = metrics.last_success.with_label_values(&job);
        if is_success {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or_default().as_secs_f64();
            last_success.set(now);
        } else {
            metrics.failures.with_label_values(&job).inc();
        }
    }
}
