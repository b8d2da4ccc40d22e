use std::{
    borrow::Cow,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use http::{HeaderMap, HeaderName};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
        TraceId, TraceState, Tracer, TracerProvider,
    },
};
use opentelemetry_otlp::WithTonicConfig;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span,
        SpanData, SpanExporter,
    },
};
use tonic::Code;
use tracing::field;
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::telemetry::{
    collector::{CollectorSettings, ExportLog},
    metrics::TRACES,
};

/// The number of spans that may wait for export; more are dropped.
const MAX_QUEUE_SIZE: usize = 2048;

/// The header of W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// The settings of traces.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// The collector.
    pub collector: CollectorSettings,
    /// The share of calls to sample when the caller has not decided, from 0 to 1.
    pub ratio: f64,
}

#[derive(Debug)]
struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The trace of one call.
#[derive(Debug)]
pub struct CallTrace(Span);

/// Starts to send traces; needs a runtime. An unavailable collector affects nothing else.
pub fn start(settings: TraceSettings) -> anyhow::Result<()> {
    let TraceSettings { collector, ratio } = settings;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_channel(collector.channel().context("SLUICE_OTLP_ENDPOINT")?)
        .build()
        .context("SLUICE_OTLP_ENDPOINT")?;
    let queue = BatchConfigBuilder::default()
        .with_max_queue_size(MAX_QUEUE_SIZE)
        .with_scheduled_delay(Duration::from_secs(1));
    let processor = BatchSpanProcessor::builder(CountingExporter {
        exporter,
        log: ExportLog::of("traces"),
    })
    .with_batch_config(queue.build())
    .build();
    let by_ratio = Sampler::TraceIdRatioBased(ratio);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(collector.resource())
        .with_sampler(Sampler::ParentBased(Box::new(by_ratio)))
        .build();
    let tracer = provider.tracer("sluice");
    TRACING
        .set(Tracing { provider, tracer })
        .map_err(|_| anyhow::anyhow!("traces were started twice"))
}

/// Sends the spans that wait, within a timeout.
pub async fn stop(timeout: Duration) {
    let Some(tracing) = TRACING.get() else {
        return;
    };
    // The shutdown blocks.
    let stopped = tokio::task::spawn_blocking(move || {
        let _ = tracing.provider.shutdown_with_timeout(timeout);
    });
    let _ = tokio::time::timeout(timeout, stopped).await;
}

/// Begins the trace of a call that runs in the span `call`, if it is sampled. Its ids become
/// the fields `trace_id` and `span_id` of that span, and thus of each log line of the call.
pub fn begin(headers: &HeaderMap, path: &str, call: &tracing::Span) -> Option<CallTrace> {
    let tracing = TRACING.get()?;
    let context = remote_parent(headers).map_or_else(Context::new, |parent| {
        Context::new().with_remote_span_context(parent)
    });
    let builder = SpanBuilder::from_name("call").with_kind(SpanKind::Server);
    let mut span = tracing.tracer.build_with_context(builder, &context);
    if !span.is_recording() {
        return None;
    }

    let (service, method) = path.trim_start_matches('/').rsplit_once('/')?;
    span.update_name(format!("{service}/{method}"));
    span.set_attributes([
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", service.to_owned()),
        KeyValue::new("rpc.method", method.to_owned()),
    ]);
    let context = span.span_context();
    call.record("trace_id", field::display(context.trace_id()));
    call.record("span_id", field::display(context.span_id()));
    attach(call, context.clone());
    Some(CallTrace(span))
}

/// The span of the caller, from the `traceparent` header (W3C Trace Context); `None` if
/// the header is absent or invalid.
///
/// `tracestate` and baggage are not continued.
fn remote_parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let text = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let (trace, span) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?);
    let flags = u8::from_str_radix(hex(parts.next()?, 2)?, 16).ok()?;
    // Only versions after 00 may have more fields, and ff is invalid.
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

fn hex(text: &str, length: usize) -> Option<&str> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == length && text.bytes().all(is_hex)).then_some(text)
}

impl CallTrace {
    /// Ends the trace with the code of the call. Codes for faults of the server are errors.
    pub fn end(mut self, code: Code) {
        let code_number = KeyValue::new("rpc.grpc.status_code", code as i64);
        self.0.set_attribute(code_number);
        if let Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss = code
        {
            self.0.set_status(Status::error(code.description()));
        }
        self.0.end();
        TRACES.ended.inc();
    }
}

/// Adds a completed step to a traced call.
pub(super) fn record_child(
    call: SpanContext,
    name: impl Into<Cow<'static, str>>,
    started_at: SystemTime,
    attributes: Vec<KeyValue>,
) {
    let Some(tracing) = TRACING.get() else {
        return;
    };
    let context = Context::new().with_remote_span_context(call);
    let builder = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Client)
        .with_start_time(started_at)
        .with_attributes(attributes);
    let mut span = tracing.tracer.build_with_context(builder, &context);
    span.end();
    TRACES.ended.inc();
}

/// Attaches the trace of a call to its span, where steps on any thread find it.
fn attach(call: &tracing::Span, context: SpanContext) {
    call.with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>();
        if let Some(span) = registry.and_then(|registry| registry.span(id)) {
            span.extensions_mut().insert(context);
        }
    });
}

/// A step of the current call, until dropped.
#[derive(Debug)]
#[must_use]
pub struct ChildSpan {
    /// The span of the call and the start of the step; `None` if the call is not traced.
    parent: Option<(SpanContext, SystemTime)>,
    name: &'static str,
}

/// Begins a step of the current call, if that is traced.
pub fn child_span(name: &'static str) -> ChildSpan {
    let call = TRACING.get().and_then(|_| current_call());
    let parent = call.map(|call| (call, SystemTime::now()));
    ChildSpan { parent, name }
}

impl Drop for ChildSpan {
    fn drop(&mut self) {
        if let Some((call, started_at)) = self.parent.take() {
            record_child(call, self.name, started_at, Vec::new());
        }
    }
}

/// The span of the current call, if that is traced.
fn current_call() -> Option<SpanContext> {
    let call = tracing::Span::current().with_subscriber(|(id, dispatch)| {
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        let extensions = span.extensions();
        extensions.get::<SpanContext>().cloned()
    });
    call.flatten()
}

/// Counts exported spans, and logs when exports begin to fail and when they succeed again.
#[derive(Debug)]
struct CountingExporter<E> {
    exporter: E,
    log: ExportLog,
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        TRACES.spans_exported(spans, exported.is_ok());
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::remote_parent;

    fn is_sampled(text: &str) -> Option<bool> {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("traceparent"),
            HeaderValue::from_str(text).unwrap(),
        )]);
        remote_parent(&headers).map(|context| context.is_sampled())
    }

    #[test]
    fn only_a_valid_traceparent_is_continued() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        assert_eq!(is_sampled(&format!("00-{trace}-{span}-01")), Some(true));
        assert_eq!(is_sampled(&format!("00-{trace}-{span}-00")), Some(false));
        assert_eq!(
            is_sampled(&format!("cc-{trace}-{span}-01-what-ever")),
            Some(true)
        );
        for wrong in [
            String::new(),
            "00".to_owned(),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-more"),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-1"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{trace}0-{span}-01"),
            format!("00-{}-{span}-01", "g".repeat(32)),
        ] {
            assert_eq!(is_sampled(&wrong), None, "{wrong}");
        }
    }
}
