use std::time::{Duration, Instant};

use sluice::proto::v1 as pb;
use tokio::time::sleep;

use super::{Fixture, wait_for};

const BROADCASTING: pb::RelayState = pb::RelayState::Broadcasting;

/// Duration of the outage: much longer than a lease, and than nginx-rtmp keeps a publisher without
/// a successful update.
const OUTAGE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_control_plane_outage_of_a_minute_stops_no_publisher_or_relay() {
    let mut fixture = Fixture::start().await;
    let (platform, destination) = fixture.destination("platform").await;
    let (mut publisher, stream) = fixture.live().await;
    fixture.wait_for_relay(&destination, BROADCASTING).await;
    fixture.wait_for_more_bytes(&platform).await;

    fixture.kill_control_plane().await;
    let mut new_publisher = fixture.publish();
    let killed = Instant::now();
    while killed.elapsed() < OUTAGE {
        assert_eq!(publisher.ended(), None, "the publisher stays");
        assert_eq!(platform.publishes(), 1, "its relay stays");
        sleep(Duration::from_millis(500)).await;
    }
    assert!(
        new_publisher.ended().is_some(),
        "new publishers are refused"
    );
    fixture.wait_for_more_bytes(&platform).await;

    fixture.restart_control_plane().await;
    let sent = fixture.owner.relay(&destination).await.unwrap().bytes_sent;
    wait_for("the relay is reported again", async || {
        let relay = fixture.owner.relay(&destination).await?;
        (relay.state() == BROADCASTING && relay.bytes_sent > sent).then_some(())
    })
    .await;
    let streams = fixture.owner.streams().await;
    assert_eq!(streams.len(), 1);
    let now = &streams[0];
    assert_eq!((&now.id, now.epoch), (&stream.id, stream.epoch));
    assert_eq!(now.state(), pb::StreamState::Live);
    assert_eq!(platform.publishes(), 1);
    assert_eq!(publisher.ended(), None);

    publisher.end().await.unwrap();
    let ended = fixture.wait_for_stream(pb::StreamState::Ended).await;
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    fixture.end().await;
}

#[tokio::test]
async fn a_killed_nginx_ends_a_stream_without_reconnect_window() {
    let mut fixture = Fixture::start().await;
    let (_platform, destination) = fixture.destination("platform").await;
    let (mut publisher, stream) = fixture.live().await;
    fixture.wait_for_relay(&destination, BROADCASTING).await;

    fixture.nginx.kill().await.unwrap();
    wait_for("the publisher is cut off", async || publisher.ended()).await;
    fixture.nginx.start_again().await.unwrap();

    let ended = fixture.wait_for_stream(pb::StreamState::Ended).await;
    assert_eq!(ended.id, stream.id);
    assert_eq!(ended.end_reason(), pb::EndReason::NodeLost);
    fixture
        .wait_for_relay(&destination, pb::RelayState::Idle)
        .await;

    let (_publisher, next) = fixture.live().await;
    assert_ne!(next.id, stream.id);
    fixture.wait_for_relay(&destination, BROADCASTING).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_killed_nginx_leaves_a_stream_with_reconnect_window_reconnecting() {
    let mut fixture = Fixture::with_window(Duration::from_secs(300)).await;
    let (platform, destination) = fixture.destination("platform").await;
    let (mut publisher, stream) = fixture.live().await;
    fixture.wait_for_relay(&destination, BROADCASTING).await;

    fixture.nginx.kill().await.unwrap();
    wait_for("the publisher is cut off", async || publisher.ended()).await;
    fixture.nginx.start_again().await.unwrap();
    fixture.wait_for_stream(pb::StreamState::Reconnecting).await;

    let (_publisher, back) = fixture.live().await;
    assert_eq!((&back.id, back.epoch), (&stream.id, stream.epoch + 1));
    let boots = |stream: &pb::Stream| stream.publisher.clone().unwrap().boot_id;
    assert_ne!(boots(&back), boots(&stream));
    fixture.wait_for_relay(&destination, BROADCASTING).await;
    fixture.wait_for_more_bytes(&platform).await;
    assert_eq!(fixture.owner.streams().await.len(), 1);
    fixture.end().await;
}

#[tokio::test]
async fn the_relays_of_a_killed_edge_are_resumed_by_the_next_one() {
    let mut fixture = Fixture::start().await;
    let (platform, destination) = fixture.destination("platform").await;
    let (mut publisher, stream) = fixture.live().await;
    let before = fixture.wait_for_relay(&destination, BROADCASTING).await;

    // nginx names a recording after the second in which it begins.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    fixture.kill_edge().await;
    fixture.restart_edge().await;
    let after = wait_for("another worker has it", async || {
        let relay = fixture.owner.relay(&destination).await?;
        let is_taken = relay.state() == BROADCASTING && relay.worker_id != before.worker_id;
        is_taken.then_some(relay)
    })
    .await;
    assert_eq!(after.stream_id, stream.id);
    fixture.wait_for_more_bytes(&platform).await;
    wait_for("the destination has a second publish", async || {
        (platform.publishes() == 2).then_some(())
    })
    .await;
    assert_eq!(publisher.ended(), None);
    let now = fixture.wait_for_stream(pb::StreamState::Live).await;
    assert_eq!((now.id, now.epoch), (stream.id, stream.epoch));
    assert_eq!(now.publisher, stream.publisher);

    publisher.end().await.unwrap();
    let ended = fixture.wait_for_stream(pb::StreamState::Ended).await;
    assert_eq!(ended.end_reason(), pb::EndReason::PublisherEnded);
    fixture.end().await;
}
