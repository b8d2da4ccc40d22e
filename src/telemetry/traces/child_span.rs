use std::time::SystemTime;

use opentelemetry::trace::SpanContext;
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::tracer;

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
    let parent = match tracer::is_enabled() {
        true => current_call().map(|call| (call, SystemTime::now())),
        false => None,
    };
    ChildSpan { parent, name }
}

impl Drop for ChildSpan {
    fn drop(&mut self) {
        if let Some((call, started_at)) = self.parent.take() {
            tracer::record_child(call, self.name, started_at, Vec::new());
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
