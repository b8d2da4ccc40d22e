use std::sync::atomic::{AtomicBool, Ordering};

use rstest::rstest;
use sluice::{layers, transport::Listener};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, service::Routes, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};

use crate::harness::{refused, settings};

/// A health service whose first call panics.
#[derive(Default)]
struct PanickingHealth {
    panicked: AtomicBool,
}

#[tonic::async_trait]
impl Health for PanickingHealth {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        assert!(
            self.panicked.swap(true, Ordering::Relaxed),
            "the first call panics"
        );
        Ok(Response::new(HealthCheckResponse { status: 1 }))
    }

    type WatchStream = tonic::codegen::BoxStream<HealthCheckResponse>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[rstest]
#[tokio::test]
async fn a_panic_in_a_handler_is_internal_and_the_next_call_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let settings = settings(&[]);
    let routes = Routes::new(HealthServer::new(PanickingHealth::default()));
    let listener = Listener::new(vec![listener.into()], settings.listener()).unwrap();
    let services = layers::stack(routes, Ok, &settings.layers());
    tokio::spawn(listener.serve(services, CancellationToken::new()));
    let mut client = HealthClient::new(Endpoint::from_shared(address).unwrap().connect_lazy());

    let refusal = refused(client.check(HealthCheckRequest::default()).await);
    assert_eq!(refusal.class(), (Code::Internal, "INTERNAL"));
    assert_eq!(refusal.message, "internal error");

    client.check(HealthCheckRequest::default()).await.unwrap();
}
