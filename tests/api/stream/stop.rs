use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::scene::{Scene, at, seconds, state, stop, told};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, refused};

const STOPPED: (pb::StreamStatus, pb::EndReason) =
    (pb::StreamStatus::Ended, pb::EndReason::StoppedByOwner);

#[rstest]
#[tokio::test]
async fn the_owner_stops_a_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        ..Default::default()
    };
    let scene = Scene::of(engine, &[], request).await;
    let live = scene.node.live(&scene.key, "a").await;
    let before = scene.project().await;

    let stopped = scene.stop(&live, 0).await;

    assert!(at(stopped.end_time) > at(live.last_seen_time));
    let expected = pb::Stream {
        status: pb::StreamStatus::Ended.into(),
        end_reason: pb::EndReason::StoppedByOwner.into(),
        end_time: stopped.end_time,
        ..live.clone()
    };
    assert_eq!(stopped, expected);
    assert_eq!(scene.owner.stream(&live.id).await, expected);
    let project = scene.project().await;
    assert_eq!(project.live_stream_id, "");
    assert_eq!(project.revision, before.revision + 1);

    let next = scene.node.heartbeat(&live, "a").await;
    assert_eq!(told(&next), stop(pb::EndReason::StoppedByOwner));
    assert_eq!(next.stream, Some(expected.clone()));
    assert_eq!(scene.node.end(&live, "a").await, expected);
}

#[rstest]
#[tokio::test]
async fn stopping_again_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let live = scene.node.live(&scene.key, "a").await;
    let stopped = scene.stop(&live, 0).await;
    let before = scene.project().await;

    assert_eq!(scene.stop(&live, 0).await, stopped);

    assert_eq!(scene.project().await, before);
    let next = scene.begun("b").await;
    let ended = scene.node.end(&next, "b").await;
    assert_eq!(scene.stop(&next, 0).await, ended);
}

#[rstest]
#[tokio::test]
async fn a_stream_is_stopped_wherever_it_is_in_its_life(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;

    let connecting = scene.begun("a").await;
    assert_eq!(state(&scene.stop(&connecting, 0).await), STOPPED);
    let late = scene.node.heartbeat(&connecting, "a").await;
    assert_eq!(told(&late), stop(pb::EndReason::StoppedByOwner));

    let live = scene.node.live(&scene.key, "b").await;
    let waiting = scene.node.end(&live, "b").await;
    assert_eq!(waiting.status(), pb::StreamStatus::Reconnecting);
    assert_eq!(state(&scene.stop(&waiting, 0).await), STOPPED);
    let late = scene.node.heartbeat(&live, "b").await;
    assert_eq!(told(&late), stop(pb::EndReason::StoppedByOwner));
    assert_eq!(scene.unended().await, 0);
}

#[rstest]
#[tokio::test]
async fn a_stop_without_hold_lets_the_publisher_return(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let live = scene.node.live(&scene.key, "a").await;
    let request = pb::StopStreamRequest {
        stream_id: live.id.clone(),
        hold: None,
    };
    let mut client = scene.owner.client.stream.clone();
    client.stop_stream(request).await.unwrap();

    let next = scene.begun("b").await;

    assert_ne!(next.id, live.id);
    assert_eq!(next.epoch, 1);
}

#[rstest]
#[tokio::test]
async fn an_ended_stream_can_still_be_held_and_changes_nothing_else(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let live = scene.node.live(&scene.key, "a").await;
    let ended = scene.node.end(&live, "a").await;

    assert_eq!(scene.stop(&live, 24 * 60 * 60).await, ended);

    let refusal = refused(scene.node.begin(&scene.key, "b").await);
    assert_eq!(refusal.class(), (Code::FailedPrecondition, "PUBLISH_HELD"));
    // A stop without hold lifts it.
    assert_eq!(scene.stop(&live, 0).await, ended);
    scene.begun("b").await;
}

/// Predecessor's defect G17: deleting a project did not stop its publisher.
#[rstest]
#[tokio::test]
async fn a_connection_learns_why_its_stream_ended(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let mut client = scene.owner.client.project.clone();
    let live = async || {
        let (project, key) = scene.owner.project().await;
        (project.id, scene.node.live(&key, "a").await)
    };

    let (project_id, disabled) = live().await;
    let request = pb::UpdateProjectRequest {
        project_id,
        disabled: Some(true),
        ..Default::default()
    };
    client.update_project(request).await.unwrap();
    let (project_id, rotated) = live().await;
    let request = pb::RotateStreamKeyRequest {
        project_id,
        grace: None,
    };
    client.rotate_stream_key(request).await.unwrap();
    let (project_id, deleted) = live().await;
    let request = pb::DeleteProjectRequest {
        project_id,
        force: true,
    };
    client.delete_project(request).await.unwrap();

    for (stream, reason) in [
        (disabled, pb::EndReason::ProjectDisabled),
        (rotated, pb::EndReason::KeyRotated),
        (deleted, pb::EndReason::ProjectDeleted),
    ] {
        let answer = scene.node.heartbeat(&stream, "a").await;
        assert_eq!(told(&answer), stop(reason));
        let ended = scene.end_of(&stream, MediaServer::connection("a")).await;
        assert_eq!(state(&ended), (pb::StreamStatus::Ended, reason));
        assert_eq!(answer.stream, Some(ended));
    }
}
