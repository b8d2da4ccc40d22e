use std::sync::LazyLock;

use prometheus::IntCounter;

use super::registry::counters;

/// What is sent to the collector of traces.
pub static TRACES: LazyLock<TraceMetrics> = LazyLock::new(TraceMetrics::new);

/// See [`TRACES`].
#[derive(Debug)]
pub struct TraceMetrics {
    ended: IntCounter,
    exported: IntCounter,
    failed: IntCounter,
}

impl TraceMetrics {
    fn new() -> Self {
        let spans = counters(
            "sluice_trace_spans_total",
            "Spans of traces: all that ended; of those, what was sent and what could not be; the rest waits or was dropped.",
            &["outcome"],
        );
        Self {
            ended: spans.with_label_values(&["ended"]),
            exported: spans.with_label_values(&["exported"]),
            failed: spans.with_label_values(&["failed"]),
        }
    }

    /// Counts a span that ended.
    pub fn ended(&self) {
        self.ended.inc();
    }

    /// Counts spans that were sent, or could not be.
    pub fn exported(&self, spans: usize, is_success: bool) {
        let counter = match is_success {
            true => &self.exported,
            false => &self.failed,
        };
        counter.inc_by(spans as u64);
    }
}
