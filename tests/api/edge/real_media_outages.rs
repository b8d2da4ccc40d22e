use std::time::{Duration, Instant};

use sluice::proto::v1 as pb;
use tokio::time::sleep;

use super::scene::{Scene, soon};
use crate::harness::runs;

const BROADCASTING: pb::RelayState = pb::RelayState::Broadcasting;

/// For how long the control plane is away: much longer than it takes nginx-rtmp to
/// disconnect whom nobody vouches for, and than a lease lasts.
const OUTAGE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_control_plane_that_is_away_for_a_minute_stops_nothing() {
    let mut scene = Scene::start().await;
    let (platform, destination) = scene.destination("platform").await;
    let (mut picture, stream) = scene.live().await;
    scene.relay_is(&destination, BROADCASTING).await;
    let ffmpegs = scene.ffmpegs(1).await;

    scene.kill_control().await;
    let mut newcomer = scene.publish();
    let killed = Instant::now();
    while killed.elapsed() < OUTAGE {
        assert_eq!(picture.ended(), None, "the publisher stays");
        assert_eq!(scene.ffmpegs_now(), ffmpegs, "its relay stays");
        sleep(Duration::from_millis(500)).await;
    }
    assert!(newcomer.ended().is_some(), "nobody new begins");
    scene.goes_on(&platform).await;

    scene.start_control_again().await;
    let sent = scene.owner.relay(&destination).await.unwrap().bytes_sent;
    soon("the relay is reported again", async || {
        let relay = scene.owner.relay(&destination).await?;
        (relay.state() == BROADCASTING && relay.bytes_sent > sent).then_some(())
    })
    .await;
    let streams = scene.owner.streams().await;
    assert_eq!(streams.len(), 1);
    let now = &streams[0];
    assert_eq!((&now.id, now.epoch), (&stream.id, stream.epoch));
    assert_eq!(now.status(), pb::StreamStatus::Live);
    assert_eq!(scene.ffmpegs_now(), ffmpegs);
    assert_eq!(picture.ended(), None);

    picture.end().await.unwrap();
    let ended = scene.stream_is(pb::StreamStatus::Ended).await;
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    scene.end().await;
}

#[tokio::test]
async fn an_nginx_that_is_killed_ends_a_stream_that_waits_for_nobody() {
    let mut scene = Scene::start().await;
    let (_platform, destination) = scene.destination("platform").await;
    let (mut picture, stream) = scene.live().await;
    scene.relay_is(&destination, BROADCASTING).await;

    scene.nginx.kill().await.unwrap();
    soon("the publisher is cut off", async || picture.ended()).await;
    scene.nginx.start_again().await.unwrap();

    let ended = scene.stream_is(pb::StreamStatus::Ended).await;
    assert_eq!(ended.id, stream.id);
    assert_eq!(ended.end_reason(), pb::EndReason::NodeLost);
    scene.ffmpegs(0).await;

    let (_picture, next) = scene.live().await;
    assert_ne!(next.id, stream.id);
    scene.relay_is(&destination, BROADCASTING).await;
    scene.end().await;
}

#[tokio::test]
async fn an_nginx_that_is_killed_leaves_a_stream_that_waits_for_its_publisher() {
    let mut scene = Scene::with_window(Duration::from_secs(300)).await;
    let (platform, destination) = scene.destination("platform").await;
    let (mut picture, stream) = scene.live().await;
    scene.relay_is(&destination, BROADCASTING).await;

    scene.nginx.kill().await.unwrap();
    soon("the publisher is cut off", async || picture.ended()).await;
    scene.nginx.start_again().await.unwrap();
    scene.stream_is(pb::StreamStatus::Reconnecting).await;

    let (_picture, back) = scene.live().await;
    assert_eq!((&back.id, back.epoch), (&stream.id, stream.epoch + 1));
    let boots = |stream: &pb::Stream| stream.publisher.clone().unwrap().boot_id;
    assert_ne!(boots(&back), boots(&stream));
    scene.relay_is(&destination, BROADCASTING).await;
    scene.goes_on(&platform).await;
    assert_eq!(scene.owner.streams().await.len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn an_edge_that_is_killed_leaves_no_ffmpeg_and_the_next_takes_its_relays_up() {
    let mut scene = Scene::start().await;
    let (platform, destination) = scene.destination("platform").await;
    let (mut picture, stream) = scene.live().await;
    let before = scene.relay_is(&destination, BROADCASTING).await;
    let ffmpegs = scene.ffmpegs(1).await;

    scene.kill_edge().await;
    soon("no ffmpeg is left", async || {
        (!ffmpegs.iter().any(|pid| runs(*pid))).then_some(())
    })
    .await;

    scene.start_edge_again().await;
    let after = soon("another worker has it", async || {
        let relay = scene.owner.relay(&destination).await?;
        let is_taken = relay.state() == BROADCASTING && relay.worker_id != before.worker_id;
        is_taken.then_some(relay)
    })
    .await;
    assert_eq!(after.stream_id, stream.id);
    scene.goes_on(&platform).await;
    assert_eq!(picture.ended(), None);
    let now = scene.stream_is(pb::StreamStatus::Live).await;
    assert_eq!((now.id, now.epoch), (stream.id, stream.epoch));
    assert_eq!(now.publisher, stream.publisher);

    picture.end().await.unwrap();
    let ended = scene.stream_is(pb::StreamStatus::Ended).await;
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    scene.end().await;
}
