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

use super::{exporter::Watched, parent::parent};
use crate::telemetry::metrics::TRACES;

/// How long the collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many spans may wait for it; more are dropped.
const KEPT: usize = 2048;

static STARTED: OnceLock<Traces> = OnceLock::new();

/// Where traces go.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// The collector, which takes OTLP over gRPC.
    pub endpoint: Uri,
    /// Which part of the calls is traced whose callers have not decided that.
    pub ratio: f64,
}

#[derive(Debug)]
struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The trace of one call.
#[derive(Debug)]
pub struct CallTrace {
    span: Span,
}

/// Begins to send traces, from a runtime. Whether the collector is there makes no
/// difference to anything else.
pub fn start(settings: TraceSettings) -> anyhow::Result<()> {
    let TraceSettings { endpoint, ratio } = settings;
    let channel = Endpoint::from(endpoint)
        .timeout(PATIENCE)
        .connect_timeout(PATIENCE)
        .connect_lazy();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .build()
        .context("SLUICE_OTLP_ENDPOINT")?;
    let queue = BatchConfigBuilder::default()
        .with_max_queue_size(KEPT)
        .with_scheduled_delay(Duration::from_secs(1));
    let processor = BatchSpanProcessor::builder(Watched::new(exporter))
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
    STARTED
        .set(Traces { provider, tracer })
        .map_err(|_| anyhow::anyhow!("traces were started twice"))
}

/// Sends what waits, but not for longer than this.
pub async fn stop(patience: Duration) {
    let Some(traces) = STARTED.get() else { return };
    // It blocks.
    let stopped = tokio::task::spawn_blocking(move || {
        let _ = traces.provider.shutdown_with_timeout(patience);
    });
    let _ = tokio::time::timeout(patience, stopped).await;
}

/// The trace of a call that begins within `log`, if it is to be traced.
pub fn begin(headers: &HeaderMap, path: &str, log: &tracing::Span) -> Option<CallTrace> {
    let traces = STARTED.get()?;
    let context = match parent(headers) {
        Some(parent) => Context::new().with_remote_span_context(parent),
        None => Context::new(),
    };
    let builder = SpanBuilder::from_name("call").with_kind(SpanKind::Server);
    let mut span = traces.tracer.build_with_context(builder, &context);
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
    keep(log, span.span_context().clone());
    Some(CallTrace { span })
}

impl CallTrace {
    /// Ends it, with the code of the call. What is the server's fault is an error.
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
        TRACES.ended();
    }
}

/// Adds a step to a traced call, which is over.
pub(super) fn add(
    call: SpanContext,
    name: impl Into<Cow<'static, str>>,
    begun: SystemTime,
    attributes: Vec<KeyValue>,
) {
    let Some(traces) = STARTED.get() else { return };
    let context = Context::new().with_remote_span_context(call);
    let builder = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Client)
        .with_start_time(begun)
        .with_attributes(attributes);
    let mut span = traces.tracer.build_with_context(builder, &context);
    span.end();
    TRACES.ended();
}

/// Whether anything is traced.
pub(super) fn are_on() -> bool {
    STARTED.get().is_some()
}

/// Keeps the trace of a call where all that happens within the call finds it, on
/// whichever thread.
fn keep(log: &tracing::Span, context: SpanContext) {
    log.with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>();
        if let Some(span) = registry.and_then(|registry| registry.span(id)) {
            span.extensions_mut().insert(context);
        }
    });
}
