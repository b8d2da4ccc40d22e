//! A change with a `request_id` has one effect, however often it is sent (AIP-155).

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::fixtures::{
    create_destination, get_destination, get_project, reveal_stream_key, update_request,
    youtube_destination,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

fn request_id() -> String {
    Uuid::now_v7().to_string()
}

fn rename(project: &pb::Project, name: &str, request_id: &str) -> pb::UpdateProjectRequest {
    pb::UpdateProjectRequest {
        project_id: project.id.clone(),
        display_name: Some(name.to_owned()),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

async fn renamed(user: &User, request: pb::UpdateProjectRequest) -> pb::Project {
    let answer = user.client.project.clone().update_project(request).await;
    answer.unwrap().into_inner().project.unwrap()
}

#[rstest]
#[tokio::test]
async fn a_repeated_update_does_not_undo_a_later_one(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let mut first = rename(&project, "First", &request_id());
    first.etag.clone_from(&project.etag);

    let once = renamed(&user, first.clone()).await;
    assert_eq!(renamed(&user, first.clone()).await, once);
    let second = renamed(&user, rename(&project, "Second", "")).await;

    assert_eq!(renamed(&user, first).await, second);
    assert_eq!(second.revision, project.revision + 2);
    assert_eq!(get_project(&user, &project).await, second);
}

#[rstest]
#[tokio::test]
async fn a_repeated_update_of_a_destination_has_no_second_effect(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let destination = create_destination(&user, youtube_destination(&project)).await;
    let request = pb::UpdateDestinationRequest {
        stream_key: Some("wxyz-wxyz-wxyz-wxyz-wxyz".to_owned()),
        etag: destination.etag.clone(),
        request_id: request_id(),
        ..update_request(&destination)
    };

    let api = &mut user.client.project;
    let once = api.update_destination(request.clone()).await.unwrap();
    let again = api.update_destination(request).await.unwrap();

    let once = once.into_inner();
    assert_eq!(again.into_inner(), once);
    let now = get_destination(&user, &destination).await;
    assert_eq!(once.destination, Some(now));
    let after = get_project(&user, &project).await;
    assert_eq!(after.revision, project.revision + 2);
}

#[rstest]
#[tokio::test]
async fn a_repeated_rotation_returns_the_new_key_and_makes_no_other(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] grace_seconds: i64,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, old_key) = user.project().await;
    let request = pb::RotateStreamKeyRequest {
        project_id: project.id.clone(),
        grace: Some(prost_types::Duration {
            seconds: grace_seconds,
            nanos: 0,
        }),
        request_id: request_id(),
    };

    let once = user.client.project.rotate_stream_key(request.clone()).await;
    let again = user.client.project.rotate_stream_key(request).await;

    let once = once.unwrap().into_inner();
    assert_eq!(again.unwrap().into_inner(), once);
    assert_ne!(once.stream_key, old_key);
    assert_eq!(reveal_stream_key(&user, &project).await, once.stream_key);
    let after = get_project(&user, &project).await;
    assert_eq!(after.revision, project.revision + 1);
}

#[rstest]
#[tokio::test]
async fn a_repeated_deletion_succeeds_once_more_but_another_one_finds_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let destination = create_destination(&user, youtube_destination(&project)).await;
    let of_destination = pb::DeleteDestinationRequest {
        destination_id: destination.id,
        request_id: request_id(),
        ..Default::default()
    };
    let of_project = pb::DeleteProjectRequest {
        project_id: project.id,
        request_id: request_id(),
        ..Default::default()
    };

    let api = &mut user.client.project;
    for _ in 0..2 {
        api.delete_destination(of_destination.clone())
            .await
            .unwrap();
    }
    for _ in 0..2 {
        api.delete_project(of_project.clone()).await.unwrap();
    }

    let another = pb::DeleteProjectRequest {
        request_id: request_id(),
        ..of_project
    };
    let refusal = refused(api.delete_project(another).await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[rstest]
#[tokio::test]
async fn the_request_id_of_a_change_with_another_body_or_rpc_is_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let id = request_id();
    let once = renamed(&user, rename(&project, "First", &id)).await;

    let other_body = rename(&project, "Second", &id);
    let other_rpc = pb::DeleteProjectRequest {
        project_id: project.id.clone(),
        request_id: id,
        ..Default::default()
    };
    let api = &mut user.client.project;
    let other_body = refused(api.update_project(other_body).await);
    let other_rpc = refused(api.delete_project(other_rpc).await);

    assert_eq!(other_body.fields(), ["request_id"]);
    assert_eq!(other_rpc.fields(), ["request_id"]);
    assert_eq!(get_project(&user, &project).await, once);
}

#[rstest]
#[tokio::test]
async fn concurrent_repetitions_of_one_change_have_one_effect(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let request = rename(&project, "Renamed", &request_id());

    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let request = request.clone();
        let mut client = user.client.project.clone();
        calls.spawn(async move { client.update_project(request).await });
    }
    let answers = calls.join_all().await;

    let after = get_project(&user, &project).await;
    assert_eq!(after.revision, project.revision + 1);
    for answer in answers {
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.project.as_ref(), Some(&after));
    }
}
