//! Publishing through nginx-rtmp: hooks, outages and restarts.

use chrono::TimeDelta;
use sluice::proto::v1::{EndReason, StopStreamRequest, StreamState};

use super::publishing_fixture::PublishingFixture;
use crate::harness::eventually;

#[tokio::test]
async fn a_stream_is_live_when_media_flows_and_ends_with_its_publisher() {
    let fixture = PublishingFixture::start("10min").await;
    let name = fixture.publish(1).await.expect("it is accepted");
    assert!(!name.contains(&fixture.key));
    fixture.nginx.set_publisher(1, &name, 0);
    let connecting = fixture.wait_for_state(StreamState::Connecting).await;

    fixture.nginx.set_publisher(1, &name, 1000);
    let live = fixture.wait_for_state(StreamState::Live).await;
    assert_eq!(live.id, connecting.id);
    fixture.nginx.remove_publisher(1);
    fixture.publish_done(1).await;

    let ended = fixture.wait_for_state(StreamState::Ended).await;
    assert_eq!(ended.id, live.id);
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
    assert!(!fixture.log().contains(&fixture.key));
}

#[tokio::test]
async fn a_publisher_missing_from_the_stat_page_has_ended() {
    let fixture = PublishingFixture::start("10min").await;
    fixture.go_live(1).await;

    fixture.nginx.remove_publisher(1);

    let ended = fixture.wait_for_state(StreamState::Ended).await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
}

#[tokio::test]
async fn an_update_hook_of_a_publisher_missing_from_the_stat_page_is_refused() {
    let fixture = PublishingFixture::start("10min").await;
    fixture.go_live(1).await;

    assert!(!fixture.update(2).await, "it is of a worker that ends");
    assert!(fixture.update(1).await);
}

#[tokio::test]
async fn a_stopped_publisher_is_disconnected() {
    let fixture = PublishingFixture::start("10min").await;
    let stream = fixture.go_live(1).await;
    assert!(fixture.update(1).await);

    let request = StopStreamRequest {
        stream_id: stream.id,
        hold: None,
        ..Default::default()
    };
    let mut streams = fixture.owner.client.stream.clone();
    streams.stop_stream(request).await.unwrap();

    eventually("nginx is asked to drop the publisher", async || {
        fixture.nginx.was_asked_to_drop(1).then_some(())
    })
    .await;
    assert!(!fixture.update(1).await);
}

#[tokio::test]
async fn publishers_with_update_hooks_stay_live_while_nginx_does_not_respond() {
    let fixture = PublishingFixture::start("10min").await;
    let stream = fixture.go_live(1).await;

    fixture.nginx.stop_responding();
    eventually("the edge notices", async || {
        let log = fixture.log();
        log.contains("the media server does not answer")
            .then_some(())
    })
    .await;

    for _ in 0..2 {
        // Each hook causes one report, which may arrive before the response to the hook.
        let before = fixture.last_report(&stream).await;
        assert!(fixture.update(1).await);
        fixture.wait_for_report_after(&stream, before).await;
    }
}

#[tokio::test]
async fn without_the_control_plane_live_publishers_continue_and_new_ones_are_refused() {
    let mut fixture = PublishingFixture::start("10min").await;
    let stream = fixture.go_live(1).await;

    fixture.proxy.disconnect().await;
    eventually("the edge notices", async || {
        fixture
            .log()
            .contains("the control plane does not answer")
            .then_some(())
    })
    .await;
    assert!(fixture.update(1).await);
    assert_eq!(fixture.publish(2).await, None);
    fixture.proxy.reconnect().await;

    fixture.wait_for_next_report(&stream).await;
    assert!(fixture.update(1).await);
    assert!(!fixture.nginx.was_asked_to_drop(1));
}

#[tokio::test]
async fn after_the_outage_grace_live_publishers_are_disconnected() {
    let mut fixture = PublishingFixture::start("1s").await;
    fixture.go_live(1).await;

    fixture.proxy.disconnect().await;

    eventually("nginx is asked to drop the publisher", async || {
        fixture.nginx.was_asked_to_drop(1).then_some(())
    })
    .await;
    assert!(!fixture.update(1).await);
}

#[tokio::test]
async fn an_end_during_an_outage_is_reported_after_it() {
    let mut fixture = PublishingFixture::start("10min").await;
    fixture.go_live(1).await;

    fixture.proxy.disconnect().await;
    fixture.nginx.remove_publisher(1);
    fixture.publish_done(1).await;
    fixture.proxy.reconnect().await;

    let ended = fixture.wait_for_state(StreamState::Ended).await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
}

#[tokio::test]
async fn a_restarted_edge_resumes_live_publishers() {
    let mut fixture = PublishingFixture::start("10min").await;
    let stream = fixture.go_live(1).await;

    fixture.replace_edge().await;

    fixture.wait_for_next_report(&stream).await;
    assert!(fixture.update(1).await);
    fixture.nginx.remove_publisher(1);
    let ended = fixture.wait_for_state(StreamState::Ended).await;
    assert_eq!(ended.id, stream.id);
}

#[tokio::test]
async fn a_restarted_edge_resumes_live_publishers_whatever_the_clocks_of_both_machines_say() {
    let mut fixture = PublishingFixture::start("10min").await;
    let mut stream = fixture.go_live(1).await;

    for seconds in [-10, 3600] {
        fixture.nginx.change_clock(TimeDelta::seconds(seconds));
        fixture.replace_edge().await;

        fixture.wait_for_next_report(&stream).await;
        assert!(fixture.update(1).await);
        let same = fixture.wait_for_state(StreamState::Live).await;
        assert_eq!((&same.id, same.epoch), (&stream.id, stream.epoch));
        stream = same;
    }
}

#[tokio::test]
async fn a_restart_of_nginx_ends_its_streams_as_node_lost() {
    let fixture = PublishingFixture::start("10min").await;
    let lost = fixture.go_live(1).await;

    fixture.nginx.restart();

    let ended = fixture.wait_for_state(StreamState::Ended).await;
    assert_eq!(ended.id, lost.id);
    assert_eq!(ended.end_reason(), EndReason::NodeLost);
    let next = fixture.go_live(1).await;
    assert_ne!(next.id, lost.id);
}
