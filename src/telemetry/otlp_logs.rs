//! The log as OpenTelemetry log records, for a collector. A record has the fields of its
//! line and of its call, and the ids of the call's trace. These are in the extensions of our
//! spans (see [`traces`](super::traces)), where `opentelemetry-appender-tracing` does not look.

use std::{
    fmt::Debug,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use opentelemetry::{
    logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity},
    trace::SpanContext,
};
use opentelemetry_otlp::WithTonicConfig;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{
        BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter, SdkLogRecord, SdkLogger,
        SdkLoggerProvider,
    },
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::collector::{CollectorSettings, ExportLog};

/// The number of records that may wait for export; more are dropped.
const MAX_QUEUE_SIZE: usize = 2048;

/// Targets of the exports themselves, whose records would cause more exports.
const EXPORT_TARGETS: [&str; 5] = ["h2", "hyper", "opentelemetry", "tonic", "tower"];

static EXPORT: OnceLock<Export> = OnceLock::new();

struct Export {
    provider: SdkLoggerProvider,
    logger: SdkLogger,
}

/// Starts to send the log too; needs a runtime. An unavailable collector affects nothing else.
pub fn start(collector: &CollectorSettings) -> anyhow::Result<()> {
    let exporter = opentelemetry_otlp::LogExporter::builder()
        .with_tonic()
        .with_channel(collector.channel().context("SLUICE_OTLP_ENDPOINT")?)
        .build()
        .context("SLUICE_OTLP_ENDPOINT")?;
    let exporter = LoggingExporter {
        exporter,
        log: ExportLog::of("log records"),
    };
    let queue = BatchConfigBuilder::default()
        .with_max_queue_size(MAX_QUEUE_SIZE)
        .with_scheduled_delay(Duration::from_secs(1))
        .build();
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(queue);
    let provider = SdkLoggerProvider::builder()
        .with_resource(collector.resource())
        .with_log_processor(processor.build())
        .build();
    let logger = provider.logger("sluice");
    EXPORT
        .set(Export { provider, logger })
        .map_err(|_| anyhow::anyhow!("the export of the log was started twice"))
}

/// Sends the records that wait, within a timeout.
pub async fn stop(timeout: Duration) {
    let Some(export) = EXPORT.get() else {
        return;
    };
    // The shutdown blocks.
    let stopped = tokio::task::spawn_blocking(move || {
        let _ = export.provider.shutdown_with_timeout(timeout);
    });
    let _ = tokio::time::timeout(timeout, stopped).await;
}

/// Exports each event, once [`start`] was called.
pub(super) struct OtlpLogs;

/// The fields of a span or an event.
#[derive(Default)]
struct Fields {
    message: Option<AnyValue>,
    others: Vec<(&'static str, AnyValue)>,
}

impl<S> Layer<S> for OtlpLogs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let (Some(_), Some(span)) = (EXPORT.get(), context.span(id)) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let (Some(_), Some(span)) = (EXPORT.get(), context.span(id))
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(export) = EXPORT.get() else {
            return;
        };
        let target = event.metadata().target();
        if EXPORT_TARGETS.iter().any(|own| target.starts_with(own)) {
            return;
        }
        let mut record = export.logger.create_log_record();
        describe(&mut record, event);
        if let Some(span) = context.event_span(event) {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<Fields>() {
                record.add_attributes(fields.others.iter().cloned());
            }
            if let Some(trace) = extensions.get::<SpanContext>() {
                let flags = Some(trace.trace_flags());
                record.set_trace_context(trace.trace_id(), trace.span_id(), flags);
            }
        }
        export.logger.emit(record);
    }
}

fn describe(record: &mut SdkLogRecord, event: &Event<'_>) {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let level = *event.metadata().level();
    record.set_timestamp(SystemTime::now());
    record.set_severity_number(severity(level));
    record.set_severity_text(level.as_str());
    record.set_target(event.metadata().target());
    if let Some(message) = fields.message {
        record.set_body(message);
    }
    record.add_attributes(fields.others);
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

impl Fields {
    fn insert(&mut self, field: &Field, value: AnyValue) {
        match field.name() {
            "message" => self.message = Some(value),
            // The record has the trace itself.
            "trace_id" | "span_id" => {}
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.to_owned().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}

/// Logs when exports begin to fail and when they succeed again.
#[derive(Debug)]
struct LoggingExporter<E> {
    exporter: E,
    log: ExportLog,
}

impl<E: LogExporter> LogExporter for LoggingExporter<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let exported = self.exporter.export(batch).await;
        self.log.record(&exported);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
