use sluice::proto::v1 as pb;

use crate::harness::{Client, Refusal, refused};

/// A refusal with the name of the RPC that refused.
pub type RpcRefusal = (&'static str, Refusal);

/// The refusals of all RPCs that read a resource by id.
pub async fn reads(client: &Client, project_id: &str, destination_id: &str) -> Vec<RpcRefusal> {
    let mut api = client.project.clone();
    let project_id = || project_id.to_owned();
    let destination_id = || destination_id.to_owned();

    let get_project = pb::GetProjectRequest {
        project_id: project_id(),
        ..Default::default()
    };
    let get_destination = pb::GetDestinationRequest {
        destination_id: destination_id(),
    };
    let list_destinations = pb::ListDestinationsRequest {
        project_id: project_id(),
        ..Default::default()
    };
    vec![
        ("GetProject", refused(api.get_project(get_project).await)),
        (
            "GetDestination",
            refused(api.get_destination(get_destination).await),
        ),
        (
            "ListDestinations",
            refused(api.list_destinations(list_destinations).await),
        ),
    ]
}

/// The refusals of all RPCs that change a resource by id or reveal its secret.
pub async fn writes(client: &Client, project_id: &str, destination_id: &str) -> Vec<RpcRefusal> {
    let mut api = client.project.clone();
    let project_id = || project_id.to_owned();
    let destination_id = || destination_id.to_owned();

    let update_project = pb::UpdateProjectRequest {
        project_id: project_id(),
        display_name: Some("Changed".to_owned()),
        disabled: Some(true),
        ..Default::default()
    };
    let delete_project = pb::DeleteProjectRequest {
        project_id: project_id(),
        force: true,
        ..Default::default()
    };
    let rotate_stream_key = pb::RotateStreamKeyRequest {
        project_id: project_id(),
        grace: None,
        ..Default::default()
    };
    let reveal_stream_key = pb::RevealStreamKeyRequest {
        project_id: project_id(),
    };
    let create_destination = pb::CreateDestinationRequest {
        project_id: project_id(),
        platform: pb::Platform::Twitch.into(),
        display_name: "Changed".to_owned(),
        stream_key: "live_1234567890".to_owned(),
        ..Default::default()
    };
    let update_destination = pb::UpdateDestinationRequest {
        destination_id: destination_id(),
        display_name: Some("Changed".to_owned()),
        disabled: Some(true),
        ..Default::default()
    };
    let check_destination = pb::CheckDestinationRequest {
        destination_id: destination_id(),
    };
    let delete_destination = pb::DeleteDestinationRequest {
        destination_id: destination_id(),
        ..Default::default()
    };
    vec![
        (
            "UpdateProject",
            refused(api.update_project(update_project).await),
        ),
        (
            "DeleteProject",
            refused(api.delete_project(delete_project).await),
        ),
        (
            "RotateStreamKey",
            refused(api.rotate_stream_key(rotate_stream_key).await),
        ),
        (
            "RevealStreamKey",
            refused(api.reveal_stream_key(reveal_stream_key).await),
        ),
        (
            "CreateDestination",
            refused(api.create_destination(create_destination).await),
        ),
        (
            "UpdateDestination",
            refused(api.update_destination(update_destination).await),
        ),
        (
            "CheckDestination",
            refused(api.check_destination(check_destination).await),
        ),
        (
            "DeleteDestination",
            refused(api.delete_destination(delete_destination).await),
        ),
    ]
}

/// The refusals of all RPCs with an id.
pub async fn with_ids(client: &Client, project_id: &str, destination_id: &str) -> Vec<RpcRefusal> {
    let mut all = reads(client, project_id, destination_id).await;
    all.extend(writes(client, project_id, destination_id).await);
    all
}

/// The refusal of CreateProject, the only RPC that writes and has no id.
pub async fn create_project(client: &Client) -> RpcRefusal {
    let request = pb::CreateProjectRequest {
        display_name: "New".to_owned(),
        ..Default::default()
    };
    let answer = client.project.clone().create_project(request).await;
    ("CreateProject", refused(answer))
}

/// The refusals of the RPCs that read and have no id.
pub async fn reads_without_ids(client: &Client) -> Vec<RpcRefusal> {
    let mut api = client.project.clone();
    let list_projects = pb::ListProjectsRequest::default();
    vec![
        (
            "ListProjects",
            refused(api.list_projects(list_projects).await),
        ),
        (
            "ListPlatforms",
            refused(
                api.list_platforms(pb::ListPlatformsRequest::default())
                    .await,
            ),
        ),
    ]
}
