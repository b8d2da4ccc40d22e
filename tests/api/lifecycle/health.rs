use tonic::{Code, Response};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::{Sqlite, TestServer, refused};

const SERVICES: [&str; 7] = [
    "",
    "sluice.v1.AuthService",
    "sluice.v1.ProjectService",
    "sluice.v1.StreamService",
    "sluice.v1.OperatorService",
    "sluice.v1.WebhookService",
    "sluice.v1.OrganizationService",
];

#[tokio::test]
async fn the_server_and_each_service_report_serving() {
    let server = TestServer::start(Sqlite).await;
    let mut health = HealthClient::new(server.channel.clone());

    for service in SERVICES {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }

    let request = HealthCheckRequest {
        service: "sluice.v1.Nothing".to_owned(),
    };
    let unknown = (Code::NotFound, "RESOURCE_NOT_FOUND");
    let refusal = refused(health.check(request.clone()).await);
    assert_eq!(refusal.class(), unknown);
    let watch = health.watch(request).await.map(|_| Response::new(()));
    assert_eq!(refused(watch).class(), unknown);
}
