//! An etag protects a change from overwriting another one in between (AIP-154).

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixtures::{
    create_destination, get_destination, get_project, update_request, youtube_destination,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

const MISMATCH: (Code, &str) = (Code::Aborted, "ETAG_MISMATCH");

/// An UpdateProject request that changes the name, for a project with an etag.
fn rename(project: &pb::Project, etag: &str, name: &str) -> pb::UpdateProjectRequest {
    pb::UpdateProjectRequest {
        project_id: project.id.clone(),
        display_name: Some(name.to_owned()),
        etag: etag.to_owned(),
        ..Default::default()
    }
}

/// The same for a destination.
fn rename_destination(
    destination: &pb::Destination,
    etag: &str,
    name: &str,
) -> pb::UpdateDestinationRequest {
    pb::UpdateDestinationRequest {
        display_name: Some(name.to_owned()),
        etag: etag.to_owned(),
        ..update_request(destination)
    }
}

/// UpdateProject that succeeds.
async fn renamed(user: &User, request: pb::UpdateProjectRequest) -> pb::Project {
    let answer = user.client.project.clone().update_project(request).await;
    answer.unwrap().into_inner().project.unwrap()
}

#[rstest]
#[tokio::test]
async fn the_etag_of_a_project_changes_with_its_own_fields_and_key_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, stream_key) = user.project().await;
    assert_eq!(get_project(&user, &project).await.etag, project.etag);

    create_destination(&user, youtube_destination(&project)).await;
    media.live(&stream_key, "c1").await;
    let live = get_project(&user, &project).await;
    assert!(live.revision > project.revision);
    assert_eq!(live.etag, project.etag);

    let after = renamed(&user, rename(&project, "", "Renamed")).await;
    assert_ne!(after.etag, project.etag);
    let rotation = pb::RotateStreamKeyRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let rotated = user
        .client
        .project
        .clone()
        .rotate_stream_key(rotation)
        .await;
    let rotated = rotated.unwrap().into_inner().project.unwrap();
    assert_ne!(rotated.etag, after.etag);
    assert_eq!(get_project(&user, &project).await.etag, rotated.etag);
}

#[rstest]
#[tokio::test]
async fn a_change_with_the_current_etag_succeeds(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let destination = create_destination(&user, youtube_destination(&project)).await;

    let project = renamed(&user, rename(&project, &project.etag, "Renamed")).await;
    let request = rename_destination(&destination, &destination.etag, "Renamed");
    let answer = user.client.project.update_destination(request).await;
    let changed = answer.unwrap().into_inner().destination.unwrap();
    assert_ne!(changed.etag, destination.etag);
    let deletion = pb::DeleteDestinationRequest {
        destination_id: changed.id,
        etag: changed.etag,
        ..Default::default()
    };
    user.client
        .project
        .delete_destination(deletion)
        .await
        .unwrap();
    let deletion = pb::DeleteProjectRequest {
        project_id: project.id,
        etag: project.etag,
        ..Default::default()
    };
    user.client.project.delete_project(deletion).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_change_with_an_outdated_etag_is_refused_and_changes_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let destination = create_destination(&user, youtube_destination(&project)).await;
    renamed(&user, rename(&project, "", "In between")).await;
    let in_between = rename_destination(&destination, "", "In between");
    let answer = user.client.project.update_destination(in_between).await;
    answer.unwrap();
    let before = get_project(&user, &project).await;
    let destination_before = get_destination(&user, &destination).await;

    let api = &mut user.client.project;
    let update = rename(&project, &project.etag, "Too late");
    let deletion = pb::DeleteProjectRequest {
        project_id: project.id.clone(),
        force: true,
        etag: project.etag.clone(),
        ..Default::default()
    };
    let of_destination = rename_destination(&destination, &destination.etag, "Too late");
    let deletion_of_destination = pb::DeleteDestinationRequest {
        destination_id: destination.id.clone(),
        etag: destination.etag.clone(),
        ..Default::default()
    };
    let refusals = [
        refused(api.update_project(update).await),
        refused(api.delete_project(deletion).await),
        refused(api.update_destination(of_destination).await),
        refused(api.delete_destination(deletion_of_destination).await),
    ];

    for refusal in refusals {
        assert_eq!(refusal.class(), MISMATCH);
    }
    assert_eq!(get_project(&user, &project).await, before);
    let destination = get_destination(&user, &destination).await;
    assert_eq!(destination, destination_before);
}

#[rstest]
#[tokio::test]
async fn of_concurrent_changes_with_one_etag_exactly_one_succeeds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;

    let mut calls = tokio::task::JoinSet::new();
    for number in 0..8 {
        let request = rename(&project, &project.etag, &format!("Name {number}"));
        let mut client = user.client.project.clone();
        calls.spawn(async move { client.update_project(request).await });
    }
    let answers = calls.join_all().await;

    let (succeeded, failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(succeeded.len(), 1);
    for answer in failed {
        assert_eq!(refused(answer).class(), MISMATCH);
    }
    let after = get_project(&user, &project).await;
    assert_eq!(after.revision, project.revision + 1);
}
