//! The log and the traces of this process.

use std::sync::LazyLock;

use prometheus::IntCounter;
use tracing::Level;

use super::registry::{counter, counters};

/// The lines of the log.
pub static LOG_LINES: LazyLock<LogLineMetrics> = LazyLock::new(LogLineMetrics::new);

/// See [`LOG_LINES`].
#[derive(Debug)]
pub struct LogLineMetrics {
    /// From `ERROR` to `TRACE`.
    by_level: [IntCounter; 5],
    /// Lines dropped because standard error was too slow.
    pub dropped: IntCounter,
}

impl LogLineMetrics {
    fn new() -> Self {
        let lines = counters("sluice_log_lines_total", "Lines of the log.", &["level"]);
        let levels = ["error", "warn", "info", "debug", "trace"];
        Self {
            by_level: levels.map(|level| lines.with_label_values(&[level])),
            dropped: counter(
                "sluice_log_lines_dropped_total",
                "Lines of the log dropped because standard error was too slow.",
            ),
        }
    }

    /// Counts a line.
    pub fn count(&self, level: Level) {
        let index = match level {
            Level::ERROR => 0,
            Level::WARN => 1,
            Level::INFO => 2,
            Level::DEBUG => 3,
            Level::TRACE => 4,
        };
        self.by_level[index].inc();
    }
}

/// The spans sent to the trace collector.
pub static TRACES: LazyLock<TraceMetrics> = LazyLock::new(TraceMetrics::new);

/// See [`TRACES`].
#[derive(Debug)]
pub struct TraceMetrics {
    /// Spans that ended.
    pub ended: IntCounter,
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

    /// Counts spans that were sent, or failed to be sent.
    pub fn spans_exported(&self, spans: usize, is_success: bool) {
        let counter = match is_success {
            true => &self.exported,
            false => &self.failed,
        };
        counter.inc_by(spans as u64);
    }
}
