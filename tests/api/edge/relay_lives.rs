use sluice::proto::v1::{self as pb, RelayErrorSeverity, RelayState};

use super::{
    relay_scene::RelayScene,
    stub_ffmpeg::{gone, runs},
};
use crate::{
    harness::{Signal, eventually, send_signal},
    relay::scene::STARTED,
};

#[tokio::test]
async fn a_relay_is_one_process_that_is_told_no_key() {
    let scene = RelayScene::start().await;
    let mut edge = scene.edge(&[]);
    let (stream, _, number) = scene.running().await;

    let relay = scene.eventually(&stream, RelayState::Starting).await;
    assert!(!relay.worker_id.is_empty());
    let lines = scene.ffmpeg.lines();
    assert!(lines.contains("-c copy"), "{lines}");
    let environment = scene.ffmpeg.environment();
    edge.signal(Signal::TERM);
    assert_eq!(edge.ended().await, Some(0));
    assert!(!runs(number));
    let secrets = ["key-of-a", "public-name", &scene.api_key, &scene.scene.key];
    for said in [lines, environment, edge.log()] {
        for secret in secrets {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
}

#[tokio::test]
async fn a_process_is_given_no_variables_of_the_edge() {
    let scene = RelayScene::start().await;
    let _edge = scene.edge(&[("PATH", "/usr/bin:/bin")]);
    scene.running().await;

    let environment = scene.ffmpeg.environment();
    assert!(environment.contains("PATH=/usr/bin:/bin"), "{environment}");
    assert!(!environment.contains("SLUICE"), "{environment}");
}

#[tokio::test]
async fn reports_renew_the_lease_of_a_relay() {
    let scene = RelayScene::start().await;
    let _edge = scene.edge(&[]);
    let (_, _, number) = scene.running().await;

    scene.renewed_for(7).await;
    assert!(runs(number));
    assert_eq!(scene.ffmpeg.numbers().len(), 1);
}

#[tokio::test]
async fn a_stopped_relay_has_no_process_and_a_started_one_has_a_new_one() {
    let scene = RelayScene::start().await;
    let _edge = scene.edge(&[]);
    let (stream, destination, first) = scene.running().await;

    scene.scene.stopped(&stream, &destination).await;
    gone(first).await;
    let idle = scene.eventually(&stream, RelayState::Idle).await;
    assert_eq!((idle.worker_id.as_str(), idle.error), ("", None));

    scene.scene.started(&stream, &destination).await;
    let second = scene.ffmpeg.started(2).await;
    assert!(runs(second));
    scene.eventually(&stream, RelayState::Starting).await;
}

#[tokio::test]
async fn stopping_one_relay_leaves_another_alone() {
    let scene = RelayScene::start().await;
    let _edge = scene.edge(&[]);
    let (stream, _, first) = scene.running().await;
    let other = scene.destination("b").await;
    scene.scene.started(&stream, &other).await;
    let second = scene.ffmpeg.started(2).await;

    scene.scene.stopped(&stream, &other).await;
    gone(second).await;
    assert!(runs(first));
}

#[tokio::test]
async fn a_destination_with_another_key_gets_another_process() {
    let scene = RelayScene::start().await;
    let _edge = scene.edge(&[]);
    let (_, destination, first) = scene.running().await;

    let update = pb::UpdateDestinationRequest {
        destination_id: destination.id.clone(),
        stream_key: Some("another-key".to_owned()),
        ..Default::default()
    };
    scene.scene.update_destination(update).await;
    gone(first).await;
    assert!(runs(scene.ffmpeg.started(2).await));
}

#[tokio::test]
async fn a_relay_whose_process_fails_is_tried_again() {
    let scene = RelayScene::start().await;
    scene.ffmpeg.behaves("fails");
    let _edge = scene.edge(&[]);
    scene.destination("a").await;
    let stream = scene.live().await;

    let failed = eventually("it fails for the third time", async || {
        let relay = scene.scene.relay(&stream).await;
        let is_third = relay.state() == RelayState::Retrying && relay.attempt >= 3;
        is_third.then_some(relay)
    })
    .await;
    assert!(failed.next_retry_time.is_some());
    let error = failed.error.unwrap();
    assert_eq!(error.code, "FFMPEG_FAILED");
    assert_eq!(error.severity(), RelayErrorSeverity::Retryable);
    assert_eq!(error.message, "ffmpeg failed: [error] rtmp://*** no luck");

    scene.ffmpeg.behaves("runs");
    scene.eventually(&stream, RelayState::Starting).await;
}

#[tokio::test]
async fn a_relay_whose_process_is_killed_is_tried_again() {
    let scene = RelayScene::start().await;
    let _edge = scene.edge(&[]);
    let (stream, _, first) = scene.running().await;

    send_signal(first, Signal::KILL);
    let second = scene.ffmpeg.started(2).await;
    assert!(runs(second));
    let relay = scene.eventually(&stream, RelayState::Starting).await;
    assert_eq!((relay.desired(), relay.attempt), (STARTED, 1));
    assert_eq!(relay.error.unwrap().code, "FFMPEG_KILLED");
}

#[tokio::test]
async fn a_relay_without_progress_is_ended_and_tried_again() {
    let scene = RelayScene::start().await;
    let _edge = scene.edge(&[("SLUICE_RELAY_PATIENCE", "1s")]);
    let (stream, _, first) = scene.running().await;

    gone(first).await;
    let relay = eventually("it is told", async || {
        let relay = scene.scene.relay(&stream).await;
        relay.error.is_some().then_some(relay)
    })
    .await;
    assert_eq!(relay.error.unwrap().code, "NO_PROGRESS");
    scene.ffmpeg.started(2).await;
}

#[tokio::test]
async fn a_process_that_does_not_want_to_end_is_killed() {
    let scene = RelayScene::start().await;
    scene.ffmpeg.behaves("stubborn");
    let _edge = scene.edge(&[]);
    let (stream, destination, number) = scene.running().await;

    scene.scene.stopped(&stream, &destination).await;
    gone(number).await;
    scene.eventually(&stream, RelayState::Idle).await;
}

#[tokio::test]
async fn without_ffmpeg_a_relay_fails_for_good() {
    let scene = RelayScene::start().await;
    let _edge = scene.edge(&[("SLUICE_FFMPEG", "/nowhere/ffmpeg")]);
    scene.destination("a").await;
    let stream = scene.live().await;

    let failed = scene.eventually(&stream, RelayState::Failed).await;
    let error = failed.error.unwrap();
    assert_eq!(error.code, "FFMPEG_MISSING");
    assert_eq!(error.severity(), RelayErrorSeverity::Fatal);
}

#[tokio::test]
async fn no_more_relays_run_than_there_is_room_for() {
    let scene = RelayScene::start().await;
    let _edge = scene.edge(&[("SLUICE_RELAY_CAPACITY", "1")]);
    let (stream, _, first) = scene.running().await;
    let destinations = [scene.destination("b").await, scene.destination("c").await];
    for destination in &destinations {
        scene.scene.started(&stream, destination).await;
    }

    // Of the three any may have been first: each makes room for the next.
    send_signal(first, Signal::KILL);
    let second = scene.ffmpeg.started(2).await;
    assert!(!runs(first));
    send_signal(second, Signal::KILL);
    let third = scene.ffmpeg.started(3).await;
    assert!(!runs(second) && runs(third));
}

#[tokio::test]
async fn an_edge_that_is_told_to_end_gives_its_relays_back() {
    let scene = RelayScene::start().await;
    let mut edge = scene.edge(&[]);
    let (stream, _, number) = scene.running().await;

    edge.signal(Signal::TERM);
    assert_eq!(edge.ended().await, Some(0));
    assert!(!runs(number));
    let relay = scene.scene.relay(&stream).await;
    assert_eq!(relay.state(), RelayState::Idle);
    assert_eq!(relay.worker_id, "");
}

#[tokio::test]
async fn an_edge_that_is_killed_leaves_no_process_and_the_next_one_takes_over() {
    let scene = RelayScene::start().await;
    // Nothing but the system can end it then.
    scene.ffmpeg.behaves("stubborn");
    let mut edge = scene.edge(&[]);
    let (stream, _, first) = scene.running().await;
    let before = scene.eventually(&stream, RelayState::Starting).await;

    edge.signal(Signal::KILL);
    edge.ended().await;
    gone(first).await;

    let _next = scene.edge(&[]);
    assert!(runs(scene.ffmpeg.started(2).await));
    let after = scene.eventually(&stream, RelayState::Starting).await;
    assert_ne!(after.worker_id, before.worker_id);
}
