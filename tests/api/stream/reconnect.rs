use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{CONTINUE, Scene, at, state, stop, told};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite};

/// So that the server judges soon: it listens for one timeout before it does.
const SOON: [&str; 2] = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];

const RECONNECTING: (pb::StreamStatus, pb::EndReason) =
    (pb::StreamStatus::Reconnecting, pb::EndReason::Unspecified);

#[rstest]
#[tokio::test]
async fn a_lost_connection_leaves_the_stream_waiting(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::with_window(engine, &[]).await;
    let live = scene.node.live(&scene.key, "a").await;

    let waiting = scene.node.end(&live, "a").await;

    assert!(at(waiting.last_seen_time) > at(live.last_seen_time));
    let expected = pb::Stream {
        status: pb::StreamStatus::Reconnecting.into(),
        last_seen_time: waiting.last_seen_time,
        ..live.clone()
    };
    assert_eq!(waiting, expected);
    assert_eq!(scene.node.end(&live, "a").await, expected);
    assert_eq!(scene.owner.stream(&live.id).await, expected);
}

#[rstest]
#[tokio::test]
async fn a_publisher_that_comes_back_goes_on_with_the_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let live = scene.node.live(&scene.key, "a").await;
    let waiting = scene.node.end(&live, "a").await;
    let before = scene.project().await;

    let back = scene.begun("b").await;

    assert!(at(back.last_seen_time) > at(waiting.last_seen_time));
    let expected = pb::Stream {
        epoch: 2,
        last_seen_time: back.last_seen_time,
        publisher: Some(MediaServer::connection("b")),
        ..live
    };
    assert_eq!(back, expected);
    assert_eq!(scene.owner.stream(&back.id).await, expected);
    assert_eq!(scene.project().await.revision, before.revision + 1);
    let next = scene.node.heartbeat(&back, "b").await;
    assert_eq!(told(&next), CONTINUE);
    assert_eq!(next.stream.unwrap().live_time, back.live_time);
    let again = scene.begun("b").await;
    assert_eq!((&again.id, again.epoch), (&back.id, 2));
}

#[rstest]
#[tokio::test]
async fn each_return_is_one_epoch(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::with_window(engine, &[]).await;
    let mut stream = scene.node.live(&scene.key, "1").await;

    for epoch in 2..=4_i64 {
        scene.node.end(&stream, &(epoch - 1).to_string()).await;
        let next = scene.begun(&epoch.to_string()).await;
        assert_eq!((&next.id, next.epoch), (&stream.id, epoch));
        assert_eq!(next.live_time, stream.live_time);
        stream = next;
    }
}

#[rstest]
#[tokio::test]
async fn a_stream_that_was_lost_before_its_media_still_waits_for_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let begun = scene.begun("a").await;
    let waiting = scene.node.end(&begun, "a").await;
    assert_eq!(state(&waiting), RECONNECTING);

    let back = scene.begun("b").await;

    assert_eq!((&back.id, back.epoch), (&begun.id, 2));
    assert_eq!(back.status(), pb::StreamStatus::Connecting);
    assert_eq!(back.live_time, None);
    let live = scene.node.heartbeat(&back, "b").await.stream.unwrap();
    assert_eq!(live.status(), pb::StreamStatus::Live);
    assert_eq!(live.live_time, live.last_seen_time);
}

#[rstest]
#[tokio::test]
async fn a_publisher_can_come_back_with_media(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::with_window(engine, &[]).await;
    let begun = scene.begun("a").await;
    scene.node.end(&begun, "a").await;

    let back = scene.begun_live("b").await;

    assert_eq!((&back.id, back.epoch), (&begun.id, 2));
    assert_eq!(back.live_time, back.last_seen_time);
}

#[rstest]
#[tokio::test]
async fn a_stream_whose_publisher_stays_away_ends_when_it_was_last_seen(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &SOON).await;
    let live = scene.begun_live("a").await;
    let waiting = scene.node.end(&live, "a").await;
    assert_eq!(state(&waiting), RECONNECTING);

    scene.long_ago("deadline").await;
    let ended = scene.eventually(&live, pb::StreamStatus::Ended).await;

    let expected = pb::Stream {
        status: pb::StreamStatus::Ended.into(),
        end_reason: pb::EndReason::ReconnectTimeout.into(),
        end_time: waiting.last_seen_time,
        ..waiting
    };
    assert_eq!(ended, expected);
    let late = scene.node.heartbeat(&live, "a").await;
    assert_eq!(told(&late), stop(pb::EndReason::ReconnectTimeout));
    assert_eq!(late.stream, Some(expected.clone()));
    assert_eq!(scene.node.end(&live, "a").await, expected);
    assert_eq!(scene.project().await.live_stream_id, "");
    let next = scene.begun("b").await;
    assert_ne!(next.id, live.id);
    assert_eq!(next.epoch, 1);
}

#[rstest]
#[tokio::test]
async fn a_stream_that_never_had_media_did_not_lose_its_publisher(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &SOON).await;
    let begun = scene.begun("a").await;
    let waiting = scene.node.end(&begun, "a").await;

    scene.long_ago("deadline").await;
    let ended = scene.eventually(&begun, pb::StreamStatus::Ended).await;

    assert_eq!(ended.end_reason(), pb::EndReason::NeverStarted);
    assert_eq!(ended.end_time, waiting.last_seen_time);
}

#[rstest]
#[tokio::test]
async fn the_window_is_open_until_the_stream_has_ended(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::with_window(engine, &[]).await;
    let live = scene.node.live(&scene.key, "a").await;
    let waiting = scene.node.end(&live, "a").await;

    let back = scene.begun("b").await;
    scene.node.end(&back, "b").await;
    let stopped = scene.stop(&back, 0).await;

    let over = (pb::StreamStatus::Ended, pb::EndReason::StoppedByOwner);
    assert_eq!(state(&stopped), over);
    assert!(at(stopped.end_time) > at(waiting.last_seen_time));
    let next = scene.begun("c").await;
    assert_ne!(next.id, live.id);
    assert_eq!(next.epoch, 1);
}
