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

/// Counts what an exporter exports; says when it begins to fail and when it works
/// again, and nothing in between.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    fails: AtomicBool,
}

impl<E> Watched<E> {
    pub fn new(exporter: E) -> Self {
        Self {
            exporter,
            fails: AtomicBool::new(false),
        }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        TRACES.exported(spans, exported.is_ok());
        match (
            &exported,
            self.fails.swap(exported.is_err(), Ordering::Relaxed),
        ) {
            (Err(error), false) => tracing::warn!(%error, "cannot send traces"),
            (Ok(()), true) => tracing::info!("traces are sent again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, patience: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(patience)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
