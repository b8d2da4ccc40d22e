use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{CONTINUE, Scene, at, seconds, stop, told};
use crate::harness::{Engine, Postgres, Sqlite};

async fn scene_of(engine: Engine, window_seconds: i64) -> Scene {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
        ..Default::default()
    };
    Scene::of(engine, &[], request).await
}

#[rstest]
#[tokio::test]
async fn a_newcomer_ends_the_running_stream_and_begins_another(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
    #[values(false, true)] live: bool,
) {
    let scene = scene_of(engine, window_seconds).await;
    let old = match live {
        true => scene.node.live(&scene.key, "a").await,
        false => scene.begun("a").await,
    };
    let before = scene.project().await;

    let new = scene.begun("b").await;

    assert_ne!(new.id, old.id);
    assert_eq!((new.status(), new.epoch), (pb::StreamStatus::Connecting, 1));
    let ended = scene.owner.stream(&old.id).await;
    assert!(at(ended.end_time) > at(old.last_seen_time));
    let expected = pb::Stream {
        status: pb::StreamStatus::Ended.into(),
        end_reason: pb::EndReason::TakenOver.into(),
        end_time: new.create_time,
        ..old
    };
    assert_eq!(ended, expected);
    let project = scene.project().await;
    assert_eq!(project.live_stream_id, new.id);
    assert_eq!(project.revision, before.revision + 2, "an end and a begin");
    assert_eq!(scene.unended().await, 1);
}

/// Predecessor's defect G4: the loser's end ended the winner's stream.
#[rstest]
#[tokio::test]
async fn the_old_connection_is_told_to_stop_and_touches_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = scene_of(engine, 0).await;
    let old = scene.node.live(&scene.key, "a").await;
    let new = scene.node.live(&scene.key, "b").await;
    let ended = scene.owner.stream(&old.id).await;

    let heartbeat = scene.node.heartbeat(&old, "a").await;
    let end = scene.node.end(&old, "a").await;
    // The same of a media server that knows only the project's current stream.
    let wrong_heartbeat = scene.node.heartbeat(&new, "a").await;
    let wrong_end = scene.node.end(&new, "a").await;

    let taken_over = stop(pb::EndReason::TakenOver);
    assert_eq!(told(&heartbeat), taken_over);
    assert_eq!(heartbeat.stream, Some(ended.clone()));
    assert_eq!(end, ended);
    assert_eq!(told(&wrong_heartbeat), taken_over);
    assert_eq!(wrong_heartbeat.stream, Some(new.clone()));
    assert_eq!(wrong_end, new);
    assert_eq!(scene.owner.stream(&old.id).await, ended);
    assert_eq!(scene.owner.stream(&new.id).await, new);
    assert_eq!(told(&scene.node.heartbeat(&new, "b").await), CONTINUE);
}

#[rstest]
#[tokio::test]
async fn a_begin_repeated_by_its_connection_takes_nothing_over(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = scene_of(engine, 0).await;
    let live = scene.node.live(&scene.key, "a").await;

    let again = scene.begun("a").await;

    assert_eq!((&again.id, again.epoch), (&live.id, 1));
    assert_eq!(again.status(), pb::StreamStatus::Live);
}

#[rstest]
#[tokio::test]
async fn a_stream_that_waits_is_gone_on_with_and_not_taken_over(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = scene_of(engine, 60).await;
    let live = scene.node.live(&scene.key, "a").await;
    scene.node.end(&live, "a").await;

    let back = scene.begun("b").await;

    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    assert_eq!(back.status(), pb::StreamStatus::Live);
}
