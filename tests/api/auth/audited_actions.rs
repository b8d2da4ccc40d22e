//! The audited actions on projects, for tests to perform.

use sluice::proto::v1 as pb;
use tonic::Status;

use crate::harness::{Client, MediaServer, User};

/// The audited actions on projects, in an order in which all of them succeed.
pub const ACTIONS: [&str; 11] = [
    "CreateProject",
    "UpdateProject",
    "RevealStreamKey",
    "CreateDestination",
    "UpdateDestination",
    "StartRelay",
    "StopRelay",
    "StopStream",
    "RotateStreamKey",
    "DeleteDestination",
    "DeleteProject",
];

/// The scopes that an API key needs for them.
pub const SCOPES: [&str; 4] = [
    "projects:read",
    "projects:write",
    "streams:read",
    "streams:write",
];

/// The stream key of destinations.
pub const DESTINATION_KEY: &str = "abcd-efgh-ijkl-mnop-qrst";

/// The ids of the resources of the actions.
pub struct AuditedResources {
    pub project: String,
    pub destination: String,
    pub stream: String,
}

/// A project with a destination and a live stream, and its stream key.
pub async fn create_resources(user: &User, node: &MediaServer) -> (AuditedResources, String) {
    let (project, stream_key) = user.project().await;
    let mut resources = AuditedResources {
        project: project.id,
        destination: String::new(),
        stream: node.live(&stream_key, "a").await.id,
    };
    let destination = perform(&user.client, "CreateDestination", &resources, "Main").await;
    resources.destination = destination.unwrap();
    (resources, stream_key)
}

/// Performs one of [`ACTIONS`]; returns the id of its resource.
pub async fn perform(
    client: &Client,
    action: &str,
    on: &AuditedResources,
    name: &str,
) -> Result<String, Status> {
    let (mut projects, mut streams) = (client.project.clone(), client.stream.clone());
    let AuditedResources {
        project,
        destination,
        stream,
    } = on;
    let (project_id, destination_id) = (project.clone(), destination.clone());
    match action {
        "CreateProject" => {
            let request = pb::CreateProjectRequest {
                display_name: name.to_owned(),
                ..Default::default()
            };
            let answer = projects.create_project(request).await?;
            return Ok(answer.into_inner().project.unwrap().id);
        }
        "UpdateProject" => {
            let request = pb::UpdateProjectRequest {
                project_id,
                display_name: Some(name.to_owned()),
                ..Default::default()
            };
            projects.update_project(request).await.map(drop)?;
        }
        "RevealStreamKey" => {
            let request = pb::RevealStreamKeyRequest { project_id };
            projects.reveal_stream_key(request).await.map(drop)?;
        }
        "CreateDestination" => {
            let request = pb::CreateDestinationRequest {
                project_id,
                platform: pb::Platform::Youtube.into(),
                display_name: name.to_owned(),
                stream_key: DESTINATION_KEY.to_owned(),
                ..Default::default()
            };
            let answer = projects.create_destination(request).await?;
            return Ok(answer.into_inner().destination.unwrap().id);
        }
        "UpdateDestination" => {
            let request = pb::UpdateDestinationRequest {
                destination_id,
                display_name: Some(name.to_owned()),
                ..Default::default()
            };
            projects.update_destination(request).await.map(drop)?;
        }
        "StartRelay" => {
            let request = pb::StartRelayRequest {
                stream_id: stream.clone(),
                destination_id,
                ..Default::default()
            };
            streams.start_relay(request).await.map(drop)?;
        }
        "StopRelay" => {
            let request = pb::StopRelayRequest {
                stream_id: stream.clone(),
                destination_id,
                ..Default::default()
            };
            streams.stop_relay(request).await.map(drop)?;
        }
        "StopStream" => {
            let request = pb::StopStreamRequest {
                stream_id: stream.clone(),
                hold: None,
                ..Default::default()
            };
            streams.stop_stream(request).await.map(drop)?;
        }
        "RotateStreamKey" => {
            let request = pb::RotateStreamKeyRequest {
                project_id,
                grace: None,
                ..Default::default()
            };
            projects.rotate_stream_key(request).await.map(drop)?;
        }
        "DeleteDestination" => {
            let request = pb::DeleteDestinationRequest {
                destination_id,
                ..Default::default()
            };
            projects.delete_destination(request).await.map(drop)?;
        }
        "DeleteProject" => {
            let request = pb::DeleteProjectRequest {
                project_id,
                force: true,
                ..Default::default()
            };
            projects.delete_project(request).await.map(drop)?;
        }
        other => panic!("{other} is not one of these"),
    }
    Ok(match action {
        "StopStream" => stream.clone(),
        "UpdateDestination" | "DeleteDestination" | "StartRelay" | "StopRelay" => {
            destination.clone()
        }
        _ => project.clone(),
    })
}
