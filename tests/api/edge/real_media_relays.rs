use sluice::proto::v1 as pb;

use super::scene::{Scene, soon};
use crate::harness::{Signal, send_signal};

const BROADCASTING: pb::RelayState = pb::RelayState::Broadcasting;

#[tokio::test]
async fn a_relay_that_is_stopped_and_started_leaves_the_other_untouched() {
    let scene = Scene::start().await;
    let (platform, stays) = scene.destination("stays").await;
    let (other_platform, comes_and_goes) = scene.destination("comes_and_goes").await;
    let (mut picture, _) = scene.live().await;
    scene.relay_is(&stays, BROADCASTING).await;
    scene.relay_is(&comes_and_goes, BROADCASTING).await;
    let both = scene.ffmpegs(2).await;

    scene.owner.stop_relay(&comes_and_goes).await;
    scene.relay_is(&comes_and_goes, pb::RelayState::Idle).await;
    let left = scene.ffmpegs(1).await;
    assert!(both.contains(&left[0]));
    let sent = scene.owner.relay(&stays).await.unwrap().bytes_sent;
    scene.goes_on(&platform).await;

    scene.owner.start_relay(&comes_and_goes).await;
    scene.relay_is(&comes_and_goes, BROADCASTING).await;
    scene.goes_on(&other_platform).await;
    assert!(scene.ffmpegs(2).await.contains(&left[0]));
    let relay = soon("its bytes grow", async || {
        let relay = scene.owner.relay(&stays).await?;
        (relay.bytes_sent > sent).then_some(relay)
    })
    .await;
    assert_eq!(relay.state(), BROADCASTING);
    assert_eq!((relay.attempt, relay.error), (0, None));
    assert_eq!(picture.ended(), None);
    scene.end().await;
}

#[tokio::test]
async fn an_ffmpeg_that_is_killed_is_replaced() {
    let scene = Scene::start().await;
    let (platform, destination) = scene.destination("platform").await;
    let (_picture, stream) = scene.live().await;
    scene.relay_is(&destination, BROADCASTING).await;
    let killed = scene.ffmpegs(1).await;

    send_signal(killed[0], Signal::KILL);

    let relay = scene.relay_is(&destination, pb::RelayState::Retrying).await;
    assert_eq!(relay.attempt, 1);
    let error = relay.error.clone().unwrap();
    assert_eq!(error.severity(), pb::RelayErrorSeverity::Retryable);
    scene.relay_is(&destination, BROADCASTING).await;
    assert_ne!(scene.ffmpegs(1).await, killed);
    scene.goes_on(&platform).await;
    assert_eq!(scene.stream_is(pb::StreamStatus::Live).await.id, stream.id);
    scene.end().await;
}

#[tokio::test]
async fn a_destination_that_went_away_is_tried_again_until_it_is_back() {
    let scene = Scene::start().await;
    let (mut platform, destination) = scene.destination("platform").await;
    let (mut picture, _) = scene.live().await;
    scene.relay_is(&destination, BROADCASTING).await;

    platform.kill().await.unwrap();
    let relay = soon("it waits for its next try", async || {
        let relay = scene.owner.relay(&destination).await?;
        let waits = relay.state() == pb::RelayState::Retrying && relay.attempt >= 2;
        waits.then_some(relay)
    })
    .await;
    assert!(relay.next_retry_time.is_some());
    let error = relay.error.unwrap();
    assert_eq!(error.severity(), pb::RelayErrorSeverity::Retryable);

    platform.start_again().await.unwrap();
    scene.relay_is(&destination, BROADCASTING).await;
    scene.goes_on(&platform).await;
    assert_eq!(picture.ended(), None);
    scene.end().await;
}

#[tokio::test]
async fn a_destination_that_refuses_the_key_fails_for_good_and_alone() {
    let scene = Scene::start().await;
    let (platform, accepts) = scene.destination("platform").await;
    let refuses = scene.destination_at(&platform.refusing_url()).await;
    let (_picture, _) = scene.live().await;

    let relay = scene.relay_is(&refuses, pb::RelayState::Failed).await;
    let error = relay.error.unwrap();
    assert_eq!(error.severity(), pb::RelayErrorSeverity::Fatal);
    assert!(relay.attempt <= 5, "after few tries, not {}", relay.attempt);
    assert_eq!(relay.next_retry_time, None);

    scene.relay_is(&accepts, BROADCASTING).await;
    scene.goes_on(&platform).await;
    scene.ffmpegs(1).await;
    scene.end().await;
}
