use tonic::Code;
use tonic_reflection::pb::{
    v1::{self, server_reflection_client::ServerReflectionClient},
    v1alpha::{self, server_reflection_client::ServerReflectionClient as AlphaClient},
};

use crate::harness::{Sqlite, TestServer};

const SERVICES: [&str; 4] = [
    "sluice.v1.AuthService",
    "sluice.v1.ProjectService",
    "sluice.v1.StreamService",
    "sluice.v1.OperatorService",
];

async fn listed_v1(server: &TestServer) -> Result<Vec<String>, tonic::Status> {
    use v1::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let requests = tokio_stream::once(request);
    let mut answers = client.server_reflection_info(requests).await?.into_inner();
    match answers.message().await?.unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => Ok(list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect()),
        other => panic!("{other:?}"),
    }
}

async fn listed_v1alpha(server: &TestServer) -> Result<Vec<String>, tonic::Status> {
    use v1alpha::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = AlphaClient::new(server.channel.clone());
    let requests = tokio_stream::once(request);
    let mut answers = client.server_reflection_info(requests).await?.into_inner();
    match answers.message().await?.unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => Ok(list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let server = TestServer::start_with(Sqlite, &["--reflection=true"]).await;

    let (v1, v1alpha) = (
        listed_v1(&server).await.unwrap(),
        listed_v1alpha(&server).await.unwrap(),
    );

    for service in SERVICES {
        assert!(v1.iter().any(|name| name == service), "{v1:?}");
        assert!(v1alpha.iter().any(|name| name == service), "{v1alpha:?}");
    }
}

#[tokio::test]
async fn reflection_can_be_disabled() {
    let server = TestServer::start_with(Sqlite, &["--reflection=false"]).await;

    assert_eq!(
        listed_v1(&server).await.unwrap_err().code(),
        Code::Unimplemented
    );
    assert_eq!(
        listed_v1alpha(&server).await.unwrap_err().code(),
        Code::Unimplemented
    );
}
