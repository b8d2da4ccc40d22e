//! SQL statements in traces, from the log events of sqlx: text without values.

use std::{
    fmt::Debug,
    time::{Duration, SystemTime},
};

use opentelemetry::{KeyValue, trace::SpanContext};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::Interest,
};
use tracing_subscriber::{Layer, filter::dynamic_filter_fn, layer::Context, registry::LookupSpan};

use super::tracer;

/// The target of the events that sqlx logs for statements.
const SQLX_TARGET: &str = "sqlx::query";

/// Records each statement of a traced call as a child span.
pub(in crate::telemetry) fn statements<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_call = |metadata: &Metadata<'_>| metadata.is_span() && metadata.name() == "call";
    let filter = dynamic_filter_fn(move |metadata, context: &Context<'_, S>| {
        is_call(metadata) || metadata.target() == SQLX_TARGET && current_call(context).is_some()
    });
    let filter = filter
        .with_max_level_hint(LevelFilter::DEBUG)
        .with_callsite_filter(move |metadata| match metadata.target() {
            SQLX_TARGET => Interest::sometimes(),
            _ if is_call(metadata) => Interest::always(),
            _ => Interest::never(),
        });
    StatementLayer.with_filter(filter)
}

struct StatementLayer;

impl<S> Layer<S> for StatementLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(call) = current_call(&context) else {
            return;
        };
        let mut statement = Statement::default();
        event.record(&mut statement);
        let Statement {
            summary,
            text,
            seconds,
        } = statement;
        let elapsed = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let text = match text.trim() {
            "" => summary.clone(),
            text => text.to_owned(),
        };
        let name = summary.trim_end_matches(" …").to_owned();
        let started_at = SystemTime::now() - elapsed;
        let attributes = vec![KeyValue::new("db.query.text", text)];
        tracer::record_child(call, name, started_at, attributes);
    }
}

fn current_call<S>(context: &Context<'_, S>) -> Option<SpanContext>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let span = context.lookup_current()?;
    let extensions = span.extensions();
    extensions.get::<SpanContext>().cloned()
}

#[derive(Default)]
struct Statement {
    summary: String,
    text: String,
    seconds: f64,
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.text),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.seconds = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
