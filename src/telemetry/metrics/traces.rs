use std::sync::LazyLock;

use prometheus::IntCounter;

use super::registry::counters;

/// The spans sent to the trace collector.
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
            "Spans of traces: all that ended, and of those the exported and the failed; the rest waits or was dropped.",
            &["outcome"],
        );
        Self {
            ended: spans.with_label_values(&["ended"]),
            exported: spans.with_label_values(&["exported"]),
            failed: spans.with_label_values(&["failed"]),
        }
    }

    /// Counts a span that ended.
    pub fn span_ended(&self) {
        self.ended.inc();
    }

    /// Counts spans that were sent, or failed to be sent.
    pub fn spans_exported(&self, spans: usize, is_success: bool) {
        let counter = match is_success {
            true => &self.exported,
            false => &self.failed,
        };
        counter.inc_by(spans as u64);
    }
}
