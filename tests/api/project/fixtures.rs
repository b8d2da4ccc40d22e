use sluice::proto::v1 as pb;
use tonic::{Response, Status};

use crate::harness::{Client, TestServer, User};

/// Counts the rows that contain what the owner of a project entered, a key, or a network of a
/// publisher. Deleted projects and destinations have none, also as long as their rows exist.
pub const ROWS_WITH_OWNERS_DATA: &str = "select
    (select count(*) from destinations
     where name <> '' or url <> '' or stream_key_hint <> '' or length(stream_key_sealed) > 0
        or srt_passphrase_sealed is not null)
    + (select count(*) from projects
       where name <> '' or stream_key_hint <> '' or stream_key_hash is not null
          or stream_key_sealed is not null or previous_key_hash is not null
          or replaced_key_hash is not null)
    + (select count(*) from refusals)";

/// The result of an RPC.
pub type RpcResult<T> = Result<Response<T>, Status>;

/// A CreateDestination request for YouTube, with a key of 24 characters.
pub fn youtube_destination(project: &pb::Project) -> pb::CreateDestinationRequest {
    pb::CreateDestinationRequest {
        project_id: project.id.clone(),
        platform: pb::Platform::Youtube.into(),
        display_name: "Main channel".to_owned(),
        stream_key: "abcd-efgh-ijkl-mnop-qrst".to_owned(),
        ..Default::default()
    }
}

/// A CreateDestination request for the platform CUSTOM.
pub fn custom_destination(project: &pb::Project, url: &str) -> pb::CreateDestinationRequest {
    pb::CreateDestinationRequest {
        platform: pb::Platform::Custom.into(),
        url: url.to_owned(),
        ..youtube_destination(project)
    }
}

/// An UpdateDestination request without changes.
pub fn update_request(destination: &pb::Destination) -> pb::UpdateDestinationRequest {
    pb::UpdateDestinationRequest {
        destination_id: destination.id.clone(),
        ..Default::default()
    }
}

/// CreateDestination.
pub async fn create_destination(
    user: &User,
    request: pb::CreateDestinationRequest,
) -> pb::Destination {
    let mut projects = user.client.project.clone();
    let answer = projects.create_destination(request).await.unwrap();
    answer.into_inner().destination.unwrap()
}

/// GetProject.
pub async fn get_project(user: &User, project: &pb::Project) -> pb::Project {
    let request = pb::GetProjectRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let answer = user.client.project.clone().get_project(request).await;
    answer.unwrap().into_inner().project.unwrap()
}

/// GetDestination.
pub async fn get_destination(user: &User, destination: &pb::Destination) -> pb::Destination {
    let request = pb::GetDestinationRequest {
        destination_id: destination.id.clone(),
    };
    let answer = user.client.project.clone().get_destination(request).await;
    answer.unwrap().into_inner().destination.unwrap()
}

/// RevealStreamKey.
pub async fn reveal_stream_key(user: &User, project: &pb::Project) -> String {
    let request = pb::RevealStreamKeyRequest {
        project_id: project.id.clone(),
    };
    let answer = user.client.project.clone().reveal_stream_key(request).await;
    answer.unwrap().into_inner().stream_key
}

/// A protobuf duration.
pub fn duration(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

/// A client with an API key of the user that has these scopes, and may be restricted to projects.
pub async fn api_key_client(
    server: &TestServer,
    user: &User,
    scopes: &[&str],
    project_ids: Vec<String>,
) -> Client {
    let request = pb::CreateApiKeyRequest {
        display_name: "program".to_owned(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        project_ids,
        expire_time: None,
        ..Default::default()
    };
    let key = user.client.auth.clone().create_api_key(request).await;
    let request = pb::ExchangeApiKeyRequest {
        secret: key.unwrap().into_inner().secret,
    };
    let answer = server.anonymous().auth.exchange_api_key(request).await;
    let token = answer.unwrap().into_inner().access_token;
    Client::with_token(&server.channel, &token)
}

/// A client with an API key of the user that is restricted to one project.
pub async fn restricted_client(server: &TestServer, user: &User, project: &pb::Project) -> Client {
    let scopes = ["projects:read", "projects:write"];
    api_key_client(server, user, &scopes, vec![project.id.clone()]).await
}
