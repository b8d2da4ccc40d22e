use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

use crate::telemetry::metrics::TRACES;

/// Counts exported spans, and logs when exports begin to fail and when they succeed again.
#[derive(Debug)]
pub(super) struct CountingExporter<E> {
    exporter: E,
    is_failing: AtomicBool,
}

impl<E> CountingExporter<E> {
    pub fn new(exporter: E) -> Self {
        Self {
            exporter,
            is_failing: AtomicBool::new(false),
        }
    }
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        TRACES.spans_exported(spans, exported.is_ok());
        let was_failing = self.is_failing.swap(exported.is_err(), Ordering::Relaxed);
        match (&exported, was_failing) {
            (Err(error), false) => tracing::warn!(%error, "cannot send traces"),
            (Ok(()), true) => tracing::info!("traces are sent again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
