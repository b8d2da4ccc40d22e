use tonic::{Code, Response};
use tonic_reflection::pb::{
    v1::{self, server_reflection_client::ServerReflectionClient},
    v1alpha::{self, server_reflection_client::ServerReflectionClient as AlphaClient},
};

use crate::harness::{Sqlite, TestServer, refused};

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

    for listed in [listed_v1(&server).await, listed_v1alpha(&server).await] {
        let refusal = refused(listed.map(Response::new));
        let unavailable = (Code::Unimplemented, "METHOD_UNAVAILABLE");
        assert_eq!(refusal.class(), unavailable);
    }
}

/// The library ends the stream of answers with it.
#[tokio::test]
async fn an_unknown_name_is_not_found() {
    use v1::server_reflection_request::MessageRequest;
    let server = TestServer::start_with(Sqlite, &["--reflection=true"]).await;
    let mut client = ServerReflectionClient::new(server.channel.clone());

    for unknown in [
        MessageRequest::FileByFilename("nothing.proto".to_owned()),
        MessageRequest::FileContainingSymbol("sluice.v1.Nothing".to_owned()),
    ] {
        let request = v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(unknown),
        };
        let requests = tokio_stream::once(request);
        let answers = client.server_reflection_info(requests).await.unwrap();
        let answer = answers.into_inner().message().await.map(Response::new);
        let refusal = refused(answer);
        assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    }
}
