use std::time::SystemTime;

use opentelemetry::trace::SpanContext;
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::tracer;

/// A step of the call that is worked on, which is over when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Child {
    step: Option<(SpanContext, SystemTime)>,
    name: &'static str,
}

/// Begins a step of the call that is worked on, if that is traced.
pub fn child(name: &'static str) -> Child {
    let step = match tracer::are_on() {
        true => call().map(|call| (call, SystemTime::now())),
        false => None,
    };
    Child { step, name }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some((call, begun)) = self.step.take() {
            tracer::add(call, self.name, begun, Vec::new());
        }
    }
}

/// The traced call that is worked on.
fn call() -> Option<SpanContext> {
    let call = tracing::Span::current().with_subscriber(|(id, dispatch)| {
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        let extensions = span.extensions();
        extensions.get::<SpanContext>().cloned()
    });
    call.flatten()
}
