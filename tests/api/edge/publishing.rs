//! Which connections publish, and which may go on.

use sluice::proto::v1::{EndReason, StopStreamRequest, StreamStatus};

use super::publishing_scene::PublishingScene;
use crate::harness::eventually;

#[tokio::test]
async fn a_stream_is_live_when_media_flows_and_ends_with_its_publisher() {
    let scene = PublishingScene::start("10min").await;
    let name = scene.publish(1).await.expect("it is accepted");
    assert!(!name.contains(&scene.key));
    scene.nginx.has(1, &name, 0);
    let connecting = scene.becomes(StreamStatus::Connecting).await;

    scene.nginx.has(1, &name, 1000);
    let live = scene.becomes(StreamStatus::Live).await;
    assert_eq!(live.id, connecting.id);
    scene.nginx.loses(1);
    scene.done(1).await;

    let ended = scene.becomes(StreamStatus::Ended).await;
    assert_eq!(ended.id, live.id);
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
    assert!(!scene.log().contains(&scene.key));
}

#[tokio::test]
async fn a_publisher_that_nginx_no_longer_names_has_ended() {
    let scene = PublishingScene::start("10min").await;
    scene.live(1).await;

    scene.nginx.loses(1);

    let ended = scene.becomes(StreamStatus::Ended).await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
}

#[tokio::test]
async fn an_update_of_a_publisher_that_nginx_does_not_show_is_refused() {
    let scene = PublishingScene::start("10min").await;
    scene.live(1).await;

    assert!(!scene.update(2).await, "it is of a worker that ends");
    assert!(scene.update(1).await);
}

#[tokio::test]
async fn a_stopped_publisher_is_disconnected() {
    let scene = PublishingScene::start("10min").await;
    let stream = scene.live(1).await;
    assert!(scene.update(1).await);

    let request = StopStreamRequest {
        stream_id: stream.id,
        hold: None,
    };
    let mut streams = scene.owner.client.stream.clone();
    streams.stop_stream(request).await.unwrap();

    eventually("nginx is told to drop it", async || {
        scene.nginx.was_told_to_drop(1).then_some(())
    })
    .await;
    assert!(!scene.update(1).await);
}

#[tokio::test]
async fn publishers_of_whom_hooks_tell_stay_live_although_nginx_does_not_answer() {
    let scene = PublishingScene::start("10min").await;
    let stream = scene.live(1).await;

    scene.nginx.falls_silent();
    eventually("the edge notices", async || {
        let log = scene.log();
        log.contains("the media server does not answer")
            .then_some(())
    })
    .await;

    for _ in 0..2 {
        // One hook makes one report, which may come before the hook is answered.
        let before = scene.last_report(&stream).await;
        assert!(scene.update(1).await);
        scene.reported_after(&stream, before).await;
    }
}

#[tokio::test]
async fn without_the_control_plane_live_publishers_go_on_and_new_ones_are_refused() {
    let mut scene = PublishingScene::start("10min").await;
    let stream = scene.live(1).await;

    scene.proxy.cut().await;
    eventually("the edge notices", async || {
        scene
            .log()
            .contains("the control plane does not answer")
            .then_some(())
    })
    .await;
    assert!(scene.update(1).await);
    assert_eq!(scene.publish(2).await, None);
    scene.proxy.mend().await;

    scene.heard_of(&stream).await;
    assert!(scene.update(1).await);
    assert!(!scene.nginx.was_told_to_drop(1));
}

#[tokio::test]
async fn when_the_grace_is_over_live_publishers_are_disconnected() {
    let mut scene = PublishingScene::start("1s").await;
    scene.live(1).await;

    scene.proxy.cut().await;

    eventually("nginx is told to drop it", async || {
        scene.nginx.was_told_to_drop(1).then_some(())
    })
    .await;
    assert!(!scene.update(1).await);
}

#[tokio::test]
async fn an_end_that_the_control_plane_did_not_hear_is_told_when_it_is_back() {
    let mut scene = PublishingScene::start("10min").await;
    scene.live(1).await;

    scene.proxy.cut().await;
    scene.nginx.loses(1);
    scene.done(1).await;
    scene.proxy.mend().await;

    let ended = scene.becomes(StreamStatus::Ended).await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
}

#[tokio::test]
async fn the_next_edge_takes_up_live_publishers() {
    let mut scene = PublishingScene::start("10min").await;
    let stream = scene.live(1).await;

    scene.replace_edge().await;

    scene.heard_of(&stream).await;
    assert!(scene.update(1).await);
    scene.nginx.loses(1);
    let ended = scene.becomes(StreamStatus::Ended).await;
    assert_eq!(ended.id, stream.id);
}

#[tokio::test]
async fn the_streams_of_an_nginx_that_starts_anew_are_lost() {
    let scene = PublishingScene::start("10min").await;
    let lost = scene.live(1).await;

    scene.nginx.restart();

    let ended = scene.becomes(StreamStatus::Ended).await;
    assert_eq!(ended.id, lost.id);
    assert_eq!(ended.end_reason(), EndReason::NodeLost);
    let next = scene.live(1).await;
    assert_ne!(next.id, lost.id);
}
