use std::time::{Duration, Instant};

use sluice::proto::v1 as pb;

use super::{
    media::{Picture, UPDATE},
    scene::{Scene, soon},
};

/// Waits until a publisher was disconnected.
async fn disconnected(picture: &mut Picture) {
    let ended = soon("the publisher is disconnected", async || picture.ended()).await;
    assert!(!ended.success());
}

#[tokio::test]
async fn a_publisher_with_a_wrong_key_is_refused() {
    let scene = Scene::start().await;
    let mut stranger = scene.publish_with("sk_this-is-nobodys-key");
    disconnected(&mut stranger).await;
    assert_eq!(scene.owner.streams().await, []);
    scene.end().await;
}

#[tokio::test]
async fn a_publisher_that_ends_ends_its_stream_and_its_relays() {
    let scene = Scene::start().await;
    let (platform, destination) = scene.destination("platform").await;
    let (mut picture, stream) = scene.live().await;
    scene
        .relay_is(&destination, pb::RelayState::Broadcasting)
        .await;
    scene.goes_on(&platform).await;

    picture.end().await.unwrap();

    let ended = scene.stream_is(pb::StreamStatus::Ended).await;
    assert_eq!(ended.id, stream.id);
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    scene.relay_is(&destination, pb::RelayState::Idle).await;
    scene.ffmpegs(0).await;
    assert!(platform.seconds().await.unwrap() > 0.0);
    scene.end().await;
}

#[tokio::test]
async fn a_second_publisher_with_the_same_key_is_refused_and_the_first_goes_on() {
    let scene = Scene::start().await;
    let (platform, destination) = scene.destination("platform").await;
    let (mut first, stream) = scene.live().await;
    scene
        .relay_is(&destination, pb::RelayState::Broadcasting)
        .await;
    let ffmpegs = scene.ffmpegs(1).await;

    let mut second = scene.publish();
    disconnected(&mut second).await;

    scene.goes_on(&platform).await;
    assert_eq!(scene.ffmpegs_now(), ffmpegs);
    assert_eq!(first.ended(), None);
    let streams = scene.owner.streams().await;
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].status(), pb::StreamStatus::Live);
    assert_eq!(streams[0].publisher, stream.publisher);
    scene.end().await;
}

#[tokio::test]
async fn a_stream_that_its_owner_stops_loses_its_publisher_who_is_held_off() {
    let scene = Scene::start().await;
    let (mut picture, _) = scene.live().await;

    let stopped = Instant::now();
    scene.owner.stop_stream(Duration::from_secs(600)).await;
    disconnected(&mut picture).await;
    assert!(stopped.elapsed() < 2 * UPDATE, "{:?}", stopped.elapsed());

    disconnected(&mut scene.publish()).await;
    let stream = scene.owner.stream().await.unwrap();
    assert_eq!(stream.status(), pb::StreamStatus::Ended);
    assert_eq!(stream.end_reason(), pb::EndReason::StoppedByOwner);

    scene.owner.stop_stream(Duration::ZERO).await;
    let (_picture, again) = scene.live().await;
    assert_ne!(again.id, stream.id);
    scene.end().await;
}
