use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    fixtures::{
        ROWS_WITH_OWNERS_DATA, create_destination, duration, get_destination, get_project,
        youtube_destination,
    },
    rpc_refusals,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

fn deletion(project: &pb::Project, force: bool) -> pb::DeleteProjectRequest {
    pb::DeleteProjectRequest {
        project_id: project.id.clone(),
        force,
        ..Default::default()
    }
}

async fn listed(user: &User) -> Vec<pb::Project> {
    let request = pb::ListProjectsRequest::default();
    let answer = user.client.project.clone().list_projects(request).await;
    answer.unwrap().into_inner().projects
}

#[rstest]
#[tokio::test]
async fn a_deleted_project_is_not_found_by_any_rpc(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] force: bool,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (kept, _) = user.project().await;
    let (project, stream_key) = user.project().await;
    let target = create_destination(&user, youtube_destination(&project)).await;

    let request = deletion(&project, force);
    user.client.project.delete_project(request).await.unwrap();

    for (rpc, refusal) in rpc_refusals::with_ids(&user.client, &project.id, &target.id).await {
        assert_eq!(
            refusal.class(),
            (Code::NotFound, "RESOURCE_NOT_FOUND"),
            "{rpc}"
        );
    }
    assert_eq!(listed(&user).await, [kept]);
    let media = server.media_server().await;
    let refusal = refused(media.begin(&stream_key, "c1").await);
    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
}

#[rstest]
#[tokio::test]
async fn a_live_project_is_not_deleted_without_force(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let media = server.media_server().await;
    let (project, stream_key) = user.project().await;
    let target = create_destination(&user, youtube_destination(&project)).await;
    let live = media.live(&stream_key, "c1").await;
    let before = get_project(&user, &project).await;

    let request = deletion(&project, false);
    let refusal = refused(user.client.project.delete_project(request).await);

    assert_eq!(refusal.class(), (Code::FailedPrecondition, "PROJECT_LIVE"));
    assert_eq!(get_project(&user, &project).await, before);
    assert_eq!(get_destination(&user, &target).await, target);
    assert_eq!(user.stream(&live.id).await, live);
    let heartbeat = media.heartbeat(&live, "c1").await;
    assert_eq!(heartbeat.action(), pb::PublishAction::Continue);
}

#[rstest]
#[tokio::test]
async fn a_reconnecting_stream_counts_as_live(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let media = server.media_server().await;
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let (project, stream_key) = user.project_with(request).await;
    let live = media.live(&stream_key, "c1").await;
    let waiting = media.end(&live, "c1").await;
    assert_eq!(waiting.state(), pb::StreamState::Reconnecting);

    let request = deletion(&project, false);
    let refusal = refused(user.client.project.delete_project(request).await);

    assert_eq!(refusal.class(), (Code::FailedPrecondition, "PROJECT_LIVE"));
}

#[rstest]
#[tokio::test]
async fn a_project_whose_stream_has_ended_can_be_deleted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let media = server.media_server().await;
    let (project, stream_key) = user.project().await;
    let live = media.live(&stream_key, "c1").await;
    media.end(&live, "c1").await;

    let request = deletion(&project, false);
    user.client.project.delete_project(request).await.unwrap();

    assert_eq!(listed(&user).await, []);
}

/// Predecessor's defect G17: publishers of a deleted project kept publishing.
#[rstest]
#[tokio::test]
async fn a_forced_deletion_ends_the_live_stream_and_erases_names_addresses_and_keys(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let media = server.media_server().await;
    let (project, stream_key) = user.project().await;
    create_destination(&user, youtube_destination(&project)).await;
    let live = media.live(&stream_key, "c1").await;
    refused(media.begin(&stream_key, "refused").await);
    let database = &server.database;
    assert_eq!(database.number(ROWS_WITH_OWNERS_DATA).await, 3);

    let request = deletion(&project, true);
    user.client.project.delete_project(request).await.unwrap();

    let heartbeat = media.heartbeat(&live, "c1").await;
    assert_eq!(heartbeat.action(), pb::PublishAction::Stop);
    assert_eq!(heartbeat.stop_reason(), pb::EndReason::ProjectDeleted);
    assert_eq!(database.number(ROWS_WITH_OWNERS_DATA).await, 0);
    let refusal = refused(media.begin(&stream_key, "c2").await);
    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
}

#[rstest]
#[tokio::test]
async fn a_key_in_its_grace_period_is_refused_after_the_project_is_deleted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let media = server.media_server().await;
    let (project, old_key) = user.project().await;
    let rotation = pb::RotateStreamKeyRequest {
        project_id: project.id.clone(),
        grace: duration(3600, 0),
        ..Default::default()
    };
    user.client
        .project
        .rotate_stream_key(rotation)
        .await
        .unwrap();

    let request = deletion(&project, false);
    user.client.project.delete_project(request).await.unwrap();

    let refusal = refused(media.begin(&old_key, "c1").await);
    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
}
