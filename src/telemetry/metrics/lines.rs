use std::sync::LazyLock;

use prometheus::IntCounter;
use tracing::Level;

use super::registry::{counter, counters};

/// The lines of the log.
pub static LINES: LazyLock<Lines> = LazyLock::new(Lines::new);

/// See [`LINES`].
#[derive(Debug)]
pub struct Lines {
    /// From `ERROR` to `TRACE`.
    of_levels: [IntCounter; 5],
    dropped: IntCounter,
}

impl Lines {
    fn new() -> Self {
        let lines = counters("sluice_log_lines_total", "Lines of the log.", &["level"]);
        let levels = ["error", "warn", "info", "debug", "trace"];
        Self {
            of_levels: levels.map(|level| lines.with_label_values(&[level])),
            dropped: counter(
                "sluice_log_lines_dropped_total",
                "Lines of the log that were dropped, because standard error was too slow.",
            ),
        }
    }

    /// Counts a line.
    pub fn count(&self, level: Level) {
        let number = match level {
            Level::ERROR => 0,
            Level::WARN => 1,
            Level::INFO => 2,
            Level::DEBUG => 3,
            Level::TRACE => 4,
        };
        self.of_levels[number].inc();
    }

    /// Counts a line that is dropped.
    pub fn drop_one(&self) {
        self.dropped.inc();
    }
}
