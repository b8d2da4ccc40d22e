use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::fixtures::{create_destination, reveal_stream_key, youtube_destination};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, refused};

fn show() -> pb::CreateProjectRequest {
    pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    }
}

async fn count(server: &TestServer, table: &str) -> i64 {
    let query = format!("select count(*) from {table}");
    server.database.number(&query).await
}

#[rstest]
#[tokio::test]
async fn the_same_request_twice_makes_one_project(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let request = show();

    let first = user.project_with(request.clone()).await;
    let second = user.project_with(request).await;

    assert_eq!(first, second);
    assert_eq!(count(&server, "projects").await, 1);
}

#[rstest]
#[tokio::test]
async fn without_a_request_id_each_call_makes_a_project(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let request = pb::CreateProjectRequest {
        request_id: String::new(),
        ..show()
    };

    let (first, _) = user.project_with(request.clone()).await;
    let (second, _) = user.project_with(request).await;

    assert_ne!(first.id, second.id);
}

#[rstest]
#[tokio::test]
async fn a_request_id_with_another_body_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let request = show();
    user.project_with(request.clone()).await;

    for other in [
        pb::CreateProjectRequest {
            display_name: "Other".to_owned(),
            ..request.clone()
        },
        pb::CreateProjectRequest {
            publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
            ..request.clone()
        },
        pb::CreateProjectRequest {
            outage_policy: pb::OutagePolicy::Hold.into(),
            ..request.clone()
        },
    ] {
        let refusal = refused(user.client.project.create_project(other).await);
        assert_eq!(refusal.fields(), ["request_id"]);
    }
    assert_eq!(count(&server, "projects").await, 1);
}

#[rstest]
#[tokio::test]
async fn two_users_may_use_the_same_request_id(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, bob) = (server.user().await, server.user().await);
    let request = show();

    let (of_ada, key_of_ada) = ada.project_with(request.clone()).await;
    let (of_bob, key_of_bob) = bob.project_with(request).await;

    assert_ne!(of_ada.id, of_bob.id);
    assert_ne!(key_of_ada, key_of_bob);
}

#[rstest]
#[tokio::test]
async fn a_repeated_create_returns_the_current_stream_key(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let request = show();
    let (project, first_key) = user.project_with(request.clone()).await;
    let rotation = pb::RotateStreamKeyRequest {
        project_id: project.id.clone(),
        grace: None,
        ..Default::default()
    };
    let rotated = user.client.project.rotate_stream_key(rotation).await;
    let rotated = rotated.unwrap().into_inner();

    let (again, key) = user.project_with(request).await;

    assert_eq!(Some(again), rotated.project);
    assert_eq!(key, rotated.stream_key);
    assert_ne!(key, first_key);
    assert_eq!(reveal_stream_key(&user, &project).await, key);
}

#[rstest]
#[tokio::test]
async fn a_repeated_create_does_not_restore_a_deleted_project(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let request = show();
    let (project, _) = user.project_with(request.clone()).await;
    let deletion = pb::DeleteProjectRequest {
        project_id: project.id,
        force: false,
        ..Default::default()
    };
    user.client.project.delete_project(deletion).await.unwrap();

    let refusal = refused(user.client.project.create_project(request).await);

    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[rstest]
#[tokio::test]
async fn a_request_id_is_forgotten_after_a_day(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let request = show();
    let (first, _) = user.project_with(request.clone()).await;
    server
        .database
        .execute("update idempotent_creates set create_time = '2020-01-01T00:00:00+00:00'")
        .await;

    let (second, _) = user.project_with(request.clone()).await;
    let (third, _) = user.project_with(request).await;

    assert_ne!(first.id, second.id);
    assert_eq!(second, third);
}

#[rstest]
#[tokio::test]
async fn the_same_request_sent_concurrently_has_one_effect(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let request = show();
    let call = || {
        let (mut projects, request) = (user.client.project.clone(), request.clone());
        async move { projects.create_project(request).await }
    };

    let (one, two, three) = tokio::join!(call(), call(), call());

    let (made, _) = user.project_with(request.clone()).await;
    assert_eq!(count(&server, "projects").await, 1);
    for answer in [one, two, three] {
        match answer {
            Ok(answer) => assert_eq!(answer.into_inner().project, Some(made.clone())),
            lost => assert_eq!(refused(lost).class(), (Code::Aborted, "CONCURRENT_CHANGE")),
        }
    }
}

#[rstest]
#[tokio::test]
async fn the_same_request_twice_makes_one_destination(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let request = pb::CreateDestinationRequest {
        request_id: Uuid::now_v7().to_string(),
        ..youtube_destination(&project)
    };

    let first = create_destination(&user, request.clone()).await;
    let second = create_destination(&user, request).await;

    assert_eq!(first, second);
    assert_eq!(count(&server, "destinations").await, 1);
}

#[rstest]
#[tokio::test]
async fn a_request_id_with_another_destination_is_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let creation = show();
    let (project, _) = user.project_with(creation.clone()).await;
    let request = pb::CreateDestinationRequest {
        request_id: Uuid::now_v7().to_string(),
        ..youtube_destination(&project)
    };
    create_destination(&user, request.clone()).await;

    for other in [
        pb::CreateDestinationRequest {
            stream_key: "another-key-of-youtube".to_owned(),
            ..request.clone()
        },
        pb::CreateDestinationRequest {
            disabled: true,
            ..request.clone()
        },
        // The request id of the CreateProject above.
        pb::CreateDestinationRequest {
            request_id: creation.request_id,
            ..request.clone()
        },
    ] {
        let refusal = refused(user.client.project.create_destination(other).await);
        assert_eq!(refusal.fields(), ["request_id"]);
    }
    assert_eq!(count(&server, "destinations").await, 1);
}
