use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io, panic,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use parking_lot::Mutex;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, FilterFn},
    fmt::{
        self, FmtContext, FormatEvent, FormatFields, format,
        format::{JsonFields, Writer},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use super::{
    log_file::LogFile,
    log_writer::LogWriter,
    metrics::{DATABASE, LOG_LINES},
    otlp_logs::OtlpLogs,
    traces::statements,
};

static LOG: OnceLock<Log> = OnceLock::new();

/// The log of this process.
#[derive(Debug)]
struct Log {
    filter: LogFilter,
    writer: LogWriter,
}

/// The settings of the log.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The filter, for example `info,sqlx=debug`.
    pub filter: String,
    /// Readable lines instead of JSON.
    pub human: bool,
    /// Whether readable lines have colours.
    pub colored: bool,
    /// The file to write to; `None` means standard error.
    pub file: Option<LogFile>,
    /// Whether statements are recorded in traces.
    pub traces_statements: bool,
}

/// Starts the log, with panics.
pub fn init(settings: &LogSettings) -> anyhow::Result<()> {
    let writer = match &settings.file {
        Some(file) => LogWriter::start(file.open().context("SLUICE_LOG_FILE cannot be opened")?),
        None => LogWriter::start(io::stderr()),
    }?;
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&settings.filter)?);
    let log = Log {
        filter: LogFilter {
            text: Mutex::new(settings.filter.clone()),
            handle,
        },
        writer: writer.clone(),
    };
    let lines = fmt::layer().with_ansi(settings.colored).with_writer(writer);
    // One filter for the lines and the exported records.
    let filter = filter.and(FilterFn::new(is_not_repeated));
    let lines = if settings.human {
        let format = CountLines(format().with_ansi(settings.colored));
        lines
            .event_format(format)
            .and_then(OtlpLogs)
            .with_filter(filter)
            .boxed()
    } else {
        let format = format().json().flatten_event(true).with_span_list(false);
        let lines = lines.fmt_fields(JsonFields::new());
        lines
            .event_format(CountLines(format))
            .and_then(OtlpLogs)
            .with_filter(filter)
            .boxed()
    };
    let statements = settings.traces_statements.then(statements);
    let registry = tracing_subscriber::registry();
    registry.with(lines).with(statements).try_init()?;
    // Set once: a second call of this function has failed above.
    let _ = LOG.set(log);

    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(
            panic = panic.payload_as_str().unwrap_or("?"),
            place = location.unwrap_or_default(),
            backtrace = captured(&Backtrace::capture()),
            "panicked"
        );
        // The panic may end the program.
        if thread::current().name() == Some("main") {
            flush();
        }
    }));
    Ok(())
}

/// Whether no line of this program, which is throttled, says the same: the client of NATS reports each
/// of its attempts.
fn is_not_repeated(metadata: &Metadata<'_>) -> bool {
    *metadata.level() > Level::INFO || !metadata.target().starts_with("async_nats")
}

/// A backtrace as text, if `RUST_BACKTRACE` had it captured.
pub(crate) fn captured(backtrace: &Backtrace) -> Option<String> {
    (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string())
}

/// The log filter; `None` before [`init`].
pub fn log_filter() -> Option<&'static LogFilter> {
    LOG.get().map(|log| &log.filter)
}

/// Waits until all log lines are written, before the program ends.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.writer.flush();
    }
}

/// Counts the lines of a format.
struct CountLines<F>(F);

impl<S, N, F> FormatEvent<S, N> for CountLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        LOG_LINES.count(level);
        if level <= Level::WARN && target == "sqlx::query" {
            DATABASE.slow_statements.inc();
        }
        self.0.format_event(context, writer, event)
    }
}

/// The log filter, which can be changed at runtime.
#[derive(Debug)]
pub struct LogFilter {
    text: Mutex<String>,
    handle: reload::Handle<EnvFilter, Registry>,
}

/// A text is no valid log filter.
#[derive(Debug, thiserror::Error)]
#[error("the filter must be such as info or sluice=debug,sqlx=debug")]
pub struct InvalidFilter;

impl LogFilter {
    /// The current filter.
    pub fn text(&self) -> String {
        self.text.lock().clone()
    }

    /// Replaces the filter.
    pub fn set(&self, text: &str) -> Result<(), InvalidFilter> {
        let filter = EnvFilter::try_new(text).map_err(|_| InvalidFilter)?;
        let mut current = self.text.lock();
        self.handle.reload(filter).map_err(|_| InvalidFilter)?;
        *current = text.to_owned();
        Ok(())
    }
}

/// Limits a log line to one per interval, and counts what it leaves out.
#[derive(Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    last: Option<Instant>,
    pending: u64,
}

impl Throttle {
    /// At most one line per interval.
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
            pending: 0,
        }
    }

    /// Counts one occurrence. Returns the number of occurrences since the last line if
    /// a line is due now.
    pub fn record(&mut self) -> Option<u64> {
        self.record_at(Instant::now())
    }

    fn record_at(&mut self, now: Instant) -> Option<u64> {
        self.pending += 1;
        let is_due = |last: Instant| now.duration_since(last) >= self.interval;
        if !self.last.is_none_or(is_due) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.pending))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Throttle;

    #[test]
    fn one_line_per_interval_has_the_number_of_occurrences() {
        let mut throttle = Throttle::new(Duration::from_secs(1));
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);

        assert_eq!(throttle.record_at(start), Some(1));
        assert_eq!(throttle.record_at(after(1)), None);
        assert_eq!(throttle.record_at(after(999)), None);
        assert_eq!(throttle.record_at(after(1000)), Some(3));
    }
}
