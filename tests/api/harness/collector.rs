use std::{
    fs,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use super::Certificate;

/// An OpenTelemetry collector that stores the received traces.
#[derive(Clone, Default)]
pub struct Collector {
    pub url: String,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    received_logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
}

impl Collector {
    /// Starts a collector on a free port.
    pub async fn start() -> Self {
        Self::start_on(Server::builder(), "http").await
    }

    /// Starts a collector over TLS, at `localhost`.
    pub async fn start_with_tls(certificate: &Certificate) -> Self {
        let pem = |path| fs::read(path).unwrap();
        let identity = Identity::from_pem(pem(&certificate.file), pem(&certificate.key));
        let tls = ServerTlsConfig::new().identity(identity);
        Self::start_on(Server::builder().tls_config(tls).unwrap(), "https").await
    }

    async fn start_on(mut server: Server, scheme: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // The certificate is for `localhost`.
        let host = if scheme == "https" {
            "localhost"
        } else {
            "127.0.0.1"
        };
        let collector = Self {
            url: format!("{scheme}://{host}:{port}"),
            ..Self::default()
        };
        let service = TraceServiceServer::new(collector.clone());
        let logs = LogsServiceServer::new(collector.clone());
        let serving = server.add_service(service).add_service(logs);
        tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
        collector
    }

    /// All received requests.
    pub fn received(&self) -> Vec<ExportTraceServiceRequest> {
        self.received.lock().unwrap().clone()
    }

    /// All received log records.
    pub fn log_records(&self) -> Vec<LogRecord> {
        let received = self.received_logs.lock().unwrap().clone();
        let resources = received
            .into_iter()
            .flat_map(|request| request.resource_logs);
        let scopes = resources.flat_map(|resource| resource.scope_logs);
        scopes.flat_map(|scope| scope.log_records).collect()
    }

    /// All received spans.
    pub fn spans(&self) -> Vec<Span> {
        let received = self.received();
        let resources = received
            .into_iter()
            .flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.received.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.received_logs
            .lock()
            .unwrap()
            .push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// The value of an attribute as text; empty if it is missing.
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}
