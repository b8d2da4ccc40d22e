use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry_sdk::{Resource, error::OTelSdkError};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::root_certificates::platform_roots;

/// The timeout of a connection to the collector, and of each export.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(5);

/// An OpenTelemetry collector, and how this process describes itself to it.
#[derive(Debug, Clone)]
pub struct CollectorSettings {
    /// The address, which accepts OTLP over gRPC; over TLS with `https://`.
    pub endpoint: Uri,
    /// The `service.name` of the resource.
    pub service_name: String,
    /// Other attributes of the resource. They replace those of the program.
    pub resource_attributes: Vec<(String, String)>,
}

impl CollectorSettings {
    /// A connection that is opened when it is first needed; needs a runtime.
    pub(super) fn channel(&self) -> anyhow::Result<Channel> {
        let mut endpoint = Endpoint::from(self.endpoint.clone())
            .timeout(COLLECTOR_TIMEOUT)
            .connect_timeout(COLLECTOR_TIMEOUT);
        if self.endpoint.scheme_str() == Some("https") {
            let roots = platform_roots()?.roots.clone();
            endpoint = endpoint.tls_config(ClientTlsConfig::new().trust_anchors(roots))?;
        }
        Ok(endpoint.connect_lazy())
    }

    /// The description of this process.
    pub(super) fn resource(&self) -> Resource {
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let attributes = self.resource_attributes.iter();
        let attributes = attributes.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        Resource::builder_empty()
            .with_attribute(version)
            .with_attributes(attributes)
            .with_attribute(KeyValue::new("service.name", self.service_name.clone()))
            .build()
    }
}

/// Logs when exports begin to fail and when they succeed again.
#[derive(Debug)]
pub(super) struct ExportLog {
    /// What is exported.
    what: &'static str,
    is_failing: AtomicBool,
}

impl ExportLog {
    pub(super) const fn of(what: &'static str) -> Self {
        Self {
            what,
            is_failing: AtomicBool::new(false),
        }
    }

    pub(super) fn record(&self, exported: &Result<(), OTelSdkError>) {
        let was_failing = self.is_failing.swap(exported.is_err(), Ordering::Relaxed);
        let what = self.what;
        match (exported, was_failing) {
            (Err(error), false) => tracing::warn!(%error, "cannot send {what}"),
            (Ok(()), true) => tracing::info!("{what} are sent again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
    }
}
