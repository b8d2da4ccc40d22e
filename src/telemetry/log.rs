use std::{
    io::{self, IsTerminal},
    panic,
    sync::OnceLock,
    thread,
};

use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{self, format},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use super::{
    filter::LogFilter,
    json_format::{Counted, Fields, JsonLine},
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

/// What the log needs.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// What is logged.
    pub filter: String,
    /// Lines for people, or JSON.
    pub human: bool,
    /// Whether traces need what sqlx says of statements.
    pub traces_statements: bool,
}

/// Starts the log on standard error, and sends panics there too.
pub fn init(settings: &LogSettings) -> anyhow::Result<()> {
    let writer = LogWriter::start(io::stderr())?;
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&settings.filter)?);
    let log = Log {
        filter: LogFilter::new(&settings.filter, handle),
        writer: writer.clone(),
    };
    let lines = fmt::layer().with_writer(writer);
    let lines = if settings.human {
        let form = Counted(format().with_ansi(io::stderr().is_terminal()));
        lines.event_format(form).with_filter(filter).boxed()
    } else {
        let form = Counted(JsonLine::default());
        let lines = lines.fmt_fields(Fields).event_format(form);
        lines.with_filter(filter).boxed()
    };
    let statements = settings.traces_statements.then(statements);
    tracing_subscriber::registry()
        .with(lines)
        .with(statements)
        .try_init()?;
    // Only this function sets it, and it fails when called twice.
    let _ = LOG.set(log);

    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(
            panic = panic.payload_as_str().unwrap_or("?"),
            place,
            "panicked"
        );
        // The program may end with it.
        if thread::current().name() == Some("main") {
            flush();
        }
    }));
    Ok(())
}

/// What is logged; `None` before there is a log.
pub fn log_filter() -> Option<LogFilter> {
    LOG.get().map(|log| log.filter.clone())
}

/// Waits until everything that was logged is written: before the program ends.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.writer.flush();
    }
}
