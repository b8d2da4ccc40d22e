use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::{Fixture, instruction, state, stop, timestamp};
use crate::harness::{Engine, MediaServer, Pooled, Postgres, Sqlite, refused};

const STOPPED: (pb::StreamState, pb::EndReason) =
    (pb::StreamState::Ended, pb::EndReason::StoppedByOwner);

#[rstest]
#[tokio::test]
async fn the_owner_stops_a_stream(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let fixture = Fixture::with_window_of(engine, window_seconds).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    let before = fixture.project().await;

    let stopped = fixture.stop(&live, 0).await;

    assert!(timestamp(stopped.end_time) > timestamp(live.last_seen_time));
    let expected = pb::Stream {
        state: pb::StreamState::Ended.into(),
        end_reason: pb::EndReason::StoppedByOwner.into(),
        end_time: stopped.end_time,
        ..live.clone()
    };
    assert_eq!(stopped, expected);
    assert_eq!(fixture.owner.stream(&live.id).await, expected);
    let project = fixture.project().await;
    assert_eq!(project.live_stream_id, "");
    assert_eq!(project.revision, before.revision + 1);

    let next = fixture.node.heartbeat(&live, "a").await;
    assert_eq!(instruction(&next), stop(pb::EndReason::StoppedByOwner));
    assert_eq!(next.stream, Some(expected.clone()));
    assert_eq!(fixture.node.end(&live, "a").await, expected);
}

#[rstest]
#[tokio::test]
async fn stopping_again_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    let stopped = fixture.stop(&live, 0).await;
    let before = fixture.project().await;

    assert_eq!(fixture.stop(&live, 0).await, stopped);

    assert_eq!(fixture.project().await, before);
    let next = fixture.begin_stream("b").await;
    let ended = fixture.node.end(&next, "b").await;
    assert_eq!(fixture.stop(&next, 0).await, ended);
}

#[rstest]
#[tokio::test]
async fn a_stream_can_be_stopped_in_every_status(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_window(engine, &[]).await;

    let connecting = fixture.begin_stream("a").await;
    assert_eq!(state(&fixture.stop(&connecting, 0).await), STOPPED);
    let late = fixture.node.heartbeat(&connecting, "a").await;
    assert_eq!(instruction(&late), stop(pb::EndReason::StoppedByOwner));

    let live = fixture.node.live(&fixture.key, "b").await;
    let waiting = fixture.node.end(&live, "b").await;
    assert_eq!(waiting.state(), pb::StreamState::Reconnecting);
    assert_eq!(state(&fixture.stop(&waiting, 0).await), STOPPED);
    let late = fixture.node.heartbeat(&live, "b").await;
    assert_eq!(instruction(&late), stop(pb::EndReason::StoppedByOwner));
    assert_eq!(fixture.count_unended().await, 0);
}

#[rstest]
#[tokio::test]
async fn a_stop_without_hold_lets_the_publisher_return(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    let request = pb::StopStreamRequest {
        stream_id: live.id.clone(),
        hold: None,
        ..Default::default()
    };
    let mut client = fixture.owner.client.stream.clone();
    client.stop_stream(request).await.unwrap();

    let next = fixture.begin_stream("b").await;

    assert_ne!(next.id, live.id);
    assert_eq!(next.epoch, 1);
}

#[rstest]
#[tokio::test]
async fn a_hold_can_be_set_with_an_ended_stream_that_stays_unchanged(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    let ended = fixture.node.end(&live, "a").await;

    assert_eq!(fixture.stop(&live, 24 * 60 * 60).await, ended);

    let refusal = refused(fixture.node.begin(&fixture.key, "b").await);
    assert_eq!(refusal.class(), (Code::FailedPrecondition, "PUBLISH_HELD"));
    // A stop without hold removes the hold.
    assert_eq!(fixture.stop(&live, 0).await, ended);
    fixture.begin_stream("b").await;
}

/// Predecessor's defect G17: deleting a project did not stop its publisher.
#[rstest]
#[tokio::test]
async fn a_connection_is_told_why_its_stream_ended(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut client = fixture.owner.client.project.clone();
    let live = async || {
        let (project, key) = fixture.owner.project().await;
        (project.id, fixture.node.live(&key, "a").await)
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
        ..Default::default()
    };
    client.rotate_stream_key(request).await.unwrap();
    let (project_id, deleted) = live().await;
    let request = pb::DeleteProjectRequest {
        project_id,
        force: true,
        ..Default::default()
    };
    client.delete_project(request).await.unwrap();

    for (stream, reason) in [
        (disabled, pb::EndReason::ProjectDisabled),
        (rotated, pb::EndReason::KeyRotated),
        (deleted, pb::EndReason::ProjectDeleted),
    ] {
        let answer = fixture.node.heartbeat(&stream, "a").await;
        assert_eq!(instruction(&answer), stop(reason));
        let ended = fixture
            .end_from(&stream, MediaServer::connection("a"))
            .await;
        assert_eq!(state(&ended), (pb::StreamState::Ended, reason));
        assert_eq!(answer.stream, Some(ended));
    }
}

#[rstest]
#[tokio::test]
async fn a_repeated_stop_does_not_restore_its_hold(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    let request = pb::StopStreamRequest {
        stream_id: live.id.clone(),
        hold: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    let mut client = fixture.owner.client.stream.clone();
    let stopped = client.stop_stream(request.clone()).await.unwrap();
    fixture.stop(&live, 0).await;

    let again = client.stop_stream(request).await.unwrap();

    assert_eq!(again.into_inner(), stopped.into_inner());
    fixture.begin_stream("b").await;
}
