use std::{fs, time::Duration};

use sluice::proto::v1 as pb;
use uuid::Uuid;

use super::{Fixture, wait_for};
use crate::{
    edge::media::{Child, program},
    harness::{Signal, send_signal},
};

const BROADCASTING: pb::RelayState = pb::RelayState::Broadcasting;

#[tokio::test]
async fn stopping_and_starting_a_relay_does_not_affect_another() {
    let fixture = Fixture::start().await;
    let (platform, stays) = fixture.destination("stays").await;
    let (other_platform, comes_and_goes) = fixture.destination("comes_and_goes").await;
    let (mut publisher, _) = fixture.live().await;
    fixture.wait_for_relay(&stays, BROADCASTING).await;
    fixture.wait_for_relay(&comes_and_goes, BROADCASTING).await;
    fixture.wait_for_more_bytes(&other_platform).await;

    fixture.owner.stop_relay(&comes_and_goes).await;
    fixture
        .wait_for_relay(&comes_and_goes, pb::RelayState::Idle)
        .await;
    let sent = fixture.owner.relay(&stays).await.unwrap().bytes_sent;
    fixture.wait_for_more_bytes(&platform).await;

    fixture.owner.start_relay(&comes_and_goes).await;
    fixture.wait_for_relay(&comes_and_goes, BROADCASTING).await;
    fixture.wait_for_more_bytes(&other_platform).await;
    assert_eq!(platform.publishes(), 1);
    let relay = wait_for("its bytes grow", async || {
        let relay = fixture.owner.relay(&stays).await?;
        (relay.bytes_sent > sent).then_some(relay)
    })
    .await;
    assert_eq!(relay.state(), BROADCASTING);
    assert_eq!((relay.attempt, relay.error), (0, None));
    assert_eq!(publisher.ended(), None);
    fixture.end().await;
}

/// An SRT listener, until its caller is gone.
async fn srt_listener(host: &str) -> Child {
    let mut command = program("ffmpeg");
    command
        .args(["-loglevel", "error", "-nostdin", "-i"])
        .arg(format!("srt://{host}:9000?mode=listener"))
        .args(["-c", "copy", "-f", "null", "-"]);
    let mut listener = Child::start("an SRT listener", &mut command).unwrap();
    let sockets = || fs::read_to_string("/proc/net/udp").unwrap();
    let is_ready = async || sockets().contains(":2328 ");
    listener.ready(is_ready).await.unwrap();
    listener
}

#[tokio::test]
async fn a_killed_ffmpeg_is_replaced() {
    let fixture = Fixture::start().await;
    let host = &fixture.nginx.sandbox.host;
    let destination = fixture.destination_at(&format!("srt://{host}:9000")).await;
    let first = srt_listener(host).await;
    let (_publisher, stream) = fixture.live().await;
    fixture.wait_for_relay(&destination, BROADCASTING).await;
    let killed = fixture.wait_for_ffmpegs(1).await;

    send_signal(killed[0], Signal::KILL);

    let relay = fixture
        .wait_for_relay(&destination, pb::RelayState::Retrying)
        .await;
    assert_eq!(relay.attempt, 1);
    let error = relay.error.clone().unwrap();
    assert_eq!(error.severity(), pb::RelayErrorSeverity::Retryable);
    drop(first);
    let _second = srt_listener(host).await;
    fixture.wait_for_relay(&destination, BROADCASTING).await;
    assert_ne!(fixture.wait_for_ffmpegs(1).await, killed);
    assert_eq!(
        fixture.wait_for_stream(pb::StreamState::Live).await.id,
        stream.id
    );
    fixture.end().await;
}

#[tokio::test]
async fn an_unavailable_destination_is_retried_until_it_is_back() {
    let fixture = Fixture::start().await;
    let (mut platform, destination) = fixture.destination("platform").await;
    let (mut publisher, _) = fixture.live().await;
    fixture.wait_for_relay(&destination, BROADCASTING).await;

    platform.kill().await.unwrap();
    let relay = wait_for("the relay waits for its next retry", async || {
        let relay = fixture.owner.relay(&destination).await?;
        let waits = relay.state() == pb::RelayState::Retrying && relay.attempt >= 2;
        waits.then_some(relay)
    })
    .await;
    assert!(relay.next_retry_time.is_some());
    let error = relay.error.unwrap();
    assert_eq!(error.severity(), pb::RelayErrorSeverity::Retryable);

    platform.start_again().await.unwrap();
    fixture.wait_for_relay(&destination, BROADCASTING).await;
    fixture.wait_for_more_bytes(&platform).await;
    assert_eq!(publisher.ended(), None);
    fixture.end().await;
}

#[tokio::test]
async fn a_destination_that_refuses_the_key_fails_permanently_and_affects_no_other() {
    let fixture = Fixture::start().await;
    let (platform, accepts) = fixture.destination("platform").await;
    let refuses = fixture.destination_at(&platform.refusing_url()).await;
    let (_publisher, _) = fixture.live().await;

    let relay = fixture
        .wait_for_relay(&refuses, pb::RelayState::Failed)
        .await;
    let error = relay.error.unwrap();
    assert_eq!(error.severity(), pb::RelayErrorSeverity::Fatal);
    assert!(relay.attempt <= 5, "after few tries, not {}", relay.attempt);
    assert_eq!(relay.next_retry_time, None);

    fixture.wait_for_relay(&accepts, BROADCASTING).await;
    fixture.wait_for_more_bytes(&platform).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_destination_receives_the_application_and_the_key_as_its_owner_gave_them() {
    let fixture = Fixture::start().await;
    let (platform, plain) = fixture.destination("platform").await;
    let key_with_slash = &format!("key-{}/slash==", Uuid::now_v7().simple());
    let slash = fixture
        .destination_with_key(&platform.url(), key_with_slash)
        .await;
    let key_of_instance = &format!("key-{}", Uuid::now_v7().simple());
    let instance = fixture
        .destination_with_key(&platform.instance_url(), key_of_instance)
        .await;
    let (_publisher, _) = fixture.live().await;

    for destination in [&plain, &slash, &instance] {
        fixture.wait_for_relay(destination, BROADCASTING).await;
    }
    wait_for("both streams are recorded under their names", async || {
        let is_recorded = platform.has_recorded(key_with_slash, false)
            && platform.has_recorded(key_of_instance, true);
        is_recorded.then_some(())
    })
    .await;
    fixture.end().await;
}

#[tokio::test]
async fn a_relay_begins_with_the_first_keyframe_of_each_publisher() {
    let fixture = Fixture::with_window(Duration::from_secs(60)).await;
    let (_platform, destination) = fixture.destination("platform").await;
    // It is sent at once, and there is no second one within the time limit of the test.
    let one_keyframe = fixture.encode_one_keyframe().await;

    let mut publisher = fixture.replay(&one_keyframe);
    fixture.wait_for_relay(&destination, BROADCASTING).await;
    publisher.kill().await.unwrap();
    let reconnecting = pb::StreamState::Reconnecting;
    fixture.wait_for_stream(reconnecting).await;
    let idle = pb::RelayState::Idle;
    fixture.wait_for_relay(&destination, idle).await;
    let _publisher = fixture.replay(&one_keyframe);

    fixture.wait_for_relay(&destination, BROADCASTING).await;
    fixture.end().await;
}
