use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use super::registry::{counter, counters_with, fraction, gauge, metrics, seconds, seconds_by};

/// What an attempt can come to.
const OUTCOMES: [&str; 8] = [
    "delivered",
    "status",
    "redirect",
    "timeout",
    "forbidden",
    "unreachable",
    "tls",
    "lost",
];

/// Histogram bounds for the duration of an attempt, and for the age of a delivered event, in
/// seconds.
const DURATION_BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0];
const AGE_BUCKETS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 10.0, 60.0, 3600.0, 86400.0];

metrics! {
    /// The messages that this replica sends to webhooks.
    pub static WEBHOOKS: WebhookMetrics {
        attempts: IntCounterVec = counters_with(
            "sluice_webhook_attempts_total",
            "Attempts to send a message to a webhook: delivered, or why it failed.",
            "outcome",
            &OUTCOMES,
        );
        durations: HistogramVec = seconds_by(
            "sluice_webhook_attempt_duration_seconds",
            "Duration of an attempt to send a message to a webhook.",
            &DURATION_BUCKETS,
            &["outcome"],
        );
        ages: Histogram = seconds(
            "sluice_webhook_delivery_age_seconds",
            "Time from an event to its delivery to a webhook.",
            &AGE_BUCKETS,
        );
        queue_age: Gauge = fraction(
            "sluice_webhook_queue_age_seconds",
            "Age of the oldest event that waited for this replica, without those of failing webhooks; 0 if none does.",
        );
        in_flight: IntGauge = gauge(
            "sluice_webhook_deliveries_in_flight",
            "Projects whose events are being sent to a webhook.",
        );
        disabled: IntCounterVec = counters_with(
            "sluice_webhooks_disabled_total",
            "Webhooks that the server has disabled, by reason.",
            "reason",
            &["failing", "gone"],
        );
        gaps: IntCounter = counter(
            "sluice_webhook_gaps_total",
            "Gaps in the events of webhooks: events that were deleted before they could be sent.",
        );
    }
}

impl WebhookMetrics {
    /// Counts an attempt with its outcome.
    pub fn attempt(&self, outcome: &'static str, duration: Duration) {
        self.attempts.with_label_values(&[outcome]).inc();
        let durations = self.durations.with_label_values(&[outcome]);
        durations.observe(duration.as_secs_f64());
    }
}
