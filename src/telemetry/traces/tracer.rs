use std::{
    borrow::Cow,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use http::{HeaderMap, Uri};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer,
        TracerProvider,
    },
};
use opentelemetry_otlp::{SpanExporter, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span},
};
use tonic::{Code, transport::Endpoint};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::{counting_exporter::CountingExporter, traceparent::remote_parent};
use crate::telemetry::metrics::TRACES;

/// The timeout of a connection to the collector, and of each export.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of spans that may wait for export; more are dropped.
const MAX_QUEUE_SIZE: usize = 2048;

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// The settings of traces.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// The address of the collector, which accepts OTLP over gRPC.
    pub endpoint: Uri,
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
pub struct CallTrace {
    span: Span,
}

/// Starts to send traces; needs a runtime. An unavailable collector affects nothing else.
pub fn start(settings: TraceSettings) -> anyhow::Result<()> {
    let TraceSettings { endpoint, ratio } = settings;
    let channel = Endpoint::from(endpoint)
        .timeout(COLLECTOR_TIMEOUT)
        .connect_timeout(COLLECTOR_TIMEOUT)
        .connect_lazy();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .build()
        .context("SLUICE_OTLP_ENDPOINT")?;
    let queue = BatchConfigBuilder::default()
        .with_max_queue_size(MAX_QUEUE_SIZE)
        .with_scheduled_delay(Duration::from_secs(1));
    let processor = BatchSpanProcessor::builder(CountingExporter::new(exporter))
        .with_batch_config(queue.build())
        .build();
    let service = [
        KeyValue::new("service.name", "sluice"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(Resource::builder_empty().with_attributes(service).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            ratio,
        ))))
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

/// Begins the trace of a call that runs in the span `call`, if it is sampled.
pub fn begin(headers: &HeaderMap, path: &str, call: &tracing::Span) -> Option<CallTrace> {
    let tracing = TRACING.get()?;
    let context = match remote_parent(headers) {
        Some(parent) => Context::new().with_remote_span_context(parent),
        None => Context::new(),
    };
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
    attach(call, span.span_context().clone());
    Some(CallTrace { span })
}

impl CallTrace {
    /// Ends the trace with the code of the call. Codes for faults of the server are errors.
    pub fn end(mut self, code: Code) {
        let code_number = KeyValue::new("rpc.grpc.status_code", code as i64);
        self.span.set_attribute(code_number);
        if let Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss = code
        {
            self.span.set_status(Status::error(code.description()));
        }
        self.span.end();
        TRACES.span_ended();
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
    TRACES.span_ended();
}

/// Whether traces are enabled.
pub(super) fn is_enabled() -> bool {
    TRACING.get().is_some()
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
