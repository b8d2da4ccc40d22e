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
    dropped: IntCounter,
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

    /// Counts a dropped line.
    pub fn count_dropped(&self) {
        self.dropped.inc();
    }
}
