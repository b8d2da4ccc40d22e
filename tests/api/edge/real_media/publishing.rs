use std::time::{Duration, Instant};

use sluice::proto::v1 as pb;

use super::{Fixture, wait_for};
use crate::edge::media::{Publisher, UPDATE_INTERVAL};

/// Waits until a publisher is disconnected.
async fn disconnected(publisher: &mut Publisher) {
    let ended = wait_for("the publisher is disconnected", async || publisher.ended()).await;
    assert!(!ended.success());
}

#[tokio::test]
async fn a_publisher_with_a_wrong_key_is_refused() {
    let fixture = Fixture::start().await;
    let mut stranger = fixture.publish_with_key("sk_this-is-nobodys-key");
    disconnected(&mut stranger).await;
    assert_eq!(fixture.owner.streams().await, []);
    fixture.end().await;
}

#[tokio::test]
async fn the_end_of_a_publisher_ends_its_stream_and_relays() {
    let fixture = Fixture::start().await;
    let (platform, destination) = fixture.destination("platform").await;
    let (mut publisher, stream) = fixture.live().await;
    fixture
        .wait_for_relay(&destination, pb::RelayState::Broadcasting)
        .await;
    fixture.wait_for_more_bytes(&platform).await;

    publisher.end().await.unwrap();

    let ended = fixture.wait_for_stream(pb::StreamState::Ended).await;
    assert_eq!(ended.id, stream.id);
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    fixture
        .wait_for_relay(&destination, pb::RelayState::Idle)
        .await;
    assert!(platform.seconds().await.unwrap() > 0.0);
    fixture.end().await;
}

#[tokio::test]
async fn a_second_publisher_with_the_same_key_is_refused_and_the_first_continues() {
    let fixture = Fixture::start().await;
    let (platform, destination) = fixture.destination("platform").await;
    let (mut first, stream) = fixture.live().await;
    fixture
        .wait_for_relay(&destination, pb::RelayState::Broadcasting)
        .await;
    fixture.wait_for_more_bytes(&platform).await;

    let mut second = fixture.publish();
    disconnected(&mut second).await;

    fixture.wait_for_more_bytes(&platform).await;
    assert_eq!(platform.publishes(), 1);
    assert_eq!(first.ended(), None);
    let streams = fixture.owner.streams().await;
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].state(), pb::StreamState::Live);
    assert_eq!(streams[0].publisher, stream.publisher);
    fixture.end().await;
}

#[tokio::test]
async fn stopping_a_stream_disconnects_its_publisher_and_the_hold_refuses_it() {
    let fixture = Fixture::start().await;
    let (mut publisher, _) = fixture.live().await;

    let stopped = Instant::now();
    fixture.owner.stop_stream(Duration::from_secs(600)).await;
    disconnected(&mut publisher).await;
    assert!(
        stopped.elapsed() < 2 * UPDATE_INTERVAL,
        "{:?}",
        stopped.elapsed()
    );

    disconnected(&mut fixture.publish()).await;
    let stream = fixture.owner.stream().await.unwrap();
    assert_eq!(stream.state(), pb::StreamState::Ended);
    assert_eq!(stream.end_reason(), pb::EndReason::StoppedByOwner);

    fixture.owner.stop_stream(Duration::ZERO).await;
    let (_publisher, again) = fixture.live().await;
    assert_ne!(again.id, stream.id);
    fixture.end().await;
}
