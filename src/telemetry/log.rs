use std::{
    io::{self, IsTerminal},
    panic,
    sync::{Arc, OnceLock},
    thread,
};

use parking_lot::Mutex;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, format},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use super::{
    json_format::{CountLines, JsonFields, JsonFormat},
    traces::statements,
    writer::LogWriter,
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
    /// Whether statements are recorded in traces.
    pub traces_statements: bool,
}

/// Starts the log on standard error, with panics.
pub fn init(settings: &LogSettings) -> anyhow::Result<()> {
    let writer = LogWriter::start(io::stderr())?;
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&settings.filter)?);
    let log = Log {
        filter: LogFilter::new(&settings.filter, handle),
        writer: writer.clone(),
    };
    let lines = fmt::layer().with_writer(writer);
    let lines = if settings.human {
        let format = CountLines(format().with_ansi(io::stderr().is_terminal()));
        lines.event_format(format).with_filter(filter).boxed()
    } else {
        let format = CountLines(JsonFormat::default());
        let lines = lines.fmt_fields(JsonFields).event_format(format);
        lines.with_filter(filter).boxed()
    };
    let statements = settings.traces_statements.then(statements);
    tracing_subscriber::registry()
        .with(lines)
        .with(statements)
        .try_init()?;
    // Set once: a second call of this function has failed above.
    let _ = LOG.set(log);

    panic::set_hook(Box::new(|panic| {
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(
            panic = panic.payload_as_str().unwrap_or("?"),
            place = location,
            "panicked"
        );
        // The panic may end the program.
        if thread::current().name() == Some("main") {
            flush();
        }
    }));
    Ok(())
}

/// The log filter; `None` before [`init`].
pub fn log_filter() -> Option<LogFilter> {
    LOG.get().map(|log| log.filter.clone())
}

/// Waits until all log lines are written, before the program ends.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.writer.flush();
    }
}

/// The log filter, which can be changed at runtime. A clone shares it.
#[derive(Debug, Clone)]
pub struct LogFilter {
    text: Arc<Mutex<String>>,
    handle: reload::Handle<EnvFilter, Registry>,
}

/// A text is no valid log filter.
#[derive(Debug, thiserror::Error)]
#[error("the filter must be such as info or sluice=debug,sqlx=debug")]
pub struct InvalidFilter;

impl LogFilter {
    fn new(text: &str, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        Self {
            text: Arc::new(Mutex::new(text.to_owned())),
            handle,
        }
    }

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
