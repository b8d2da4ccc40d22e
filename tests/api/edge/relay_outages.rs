use sluice::proto::v1::RelayState;

use super::{
    relay_scene::RelayScene,
    stub_ffmpeg::{gone, runs},
};
use crate::harness::{Proxy, Signal, eventually, send_signal};

#[tokio::test]
async fn a_relay_outlives_an_outage_and_goes_on_under_a_new_lease() {
    let scene = RelayScene::start().await;
    let mut proxy = Proxy::to(scene.scene.server.address).await;
    let edge = scene.edge_at(proxy.address, &[]);
    let (stream, destination, number) = scene.running().await;
    let before = scene.eventually(&stream, RelayState::Starting).await;

    proxy.cut().await;
    let lost = scene.eventually(&stream, RelayState::Idle).await;
    assert_eq!(lost.worker_id, "");
    assert!(runs(number));

    proxy.mend().await;
    let after = scene.eventually(&stream, RelayState::Starting).await;
    assert_eq!(after.worker_id, before.worker_id);
    // It would be held for less than that if it had no new lease.
    scene.renewed_for(9).await;
    assert!(runs(number));
    assert_eq!(scene.ffmpeg.numbers(), [number], "{}", edge.log());

    scene.scene.stopped(&stream, &destination).await;
    gone(number).await;
    scene.eventually(&stream, RelayState::Idle).await;
}

#[tokio::test]
async fn a_relay_outlives_a_restart_of_the_control_plane_under_its_lease() {
    let scene = RelayScene::start().await;
    let mut proxy = Proxy::to(scene.scene.server.address).await;
    let edge = scene.edge_at(proxy.address, &[]);
    let (stream, _, number) = scene.running().await;
    let before = scene.eventually(&stream, RelayState::Starting).await;
    let claim_time = scene.claim_time().await;

    proxy.cut().await;
    let scene = scene.restarted().await;
    proxy.mend_to(scene.scene.server.address).await;
    scene.renewed_for(9).await;
    let after = scene.scene.relay(&stream).await;
    assert_eq!(after.worker_id, before.worker_id);
    assert_eq!(scene.claim_time().await, claim_time);
    assert!(runs(number));
    assert_eq!(scene.ffmpeg.numbers(), [number], "{}", edge.log());
}

#[tokio::test]
async fn a_relay_is_claimed_again_as_soon_as_the_control_plane_is_back() {
    let scene = RelayScene::start().await;
    let mut proxy = Proxy::to(scene.scene.server.address).await;
    let edge = scene.edge_at(proxy.address, &[]);
    let (stream, _, number) = scene.running().await;
    scene.eventually(&stream, RelayState::Starting).await;

    proxy.cut().await;
    eventually("claims are tried seldom", async || {
        let log = edge.log();
        log.lines()
            .any(waits_longer_than_a_relay_is_held)
            .then_some(())
    })
    .await;
    proxy.mend().await;
    scene.eventually(&stream, RelayState::Starting).await;
    scene.renewed_for(9).await;
    assert_eq!(scene.ffmpeg.numbers(), [number], "{}", edge.log());
}

/// Whether a line of the log tells of a long wait.
fn waits_longer_than_a_relay_is_held(line: &str) -> bool {
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    line["wait_seconds"]
        .as_f64()
        .is_some_and(|wait| wait >= 5.0)
}

#[tokio::test]
async fn a_relay_that_was_stopped_during_an_outage_ends_after_it() {
    let scene = RelayScene::start().await;
    let mut proxy = Proxy::to(scene.scene.server.address).await;
    let _edge = scene.edge_at(proxy.address, &[]);
    let (stream, destination, number) = scene.running().await;

    proxy.cut().await;
    scene.scene.stopped(&stream, &destination).await;
    scene.eventually(&stream, RelayState::Idle).await;
    assert!(runs(number));
    proxy.mend().await;
    gone(number).await;
}

#[tokio::test]
async fn without_grace_a_relay_ends_before_its_lease_does() {
    let scene = RelayScene::start().await;
    let mut proxy = Proxy::to(scene.scene.server.address).await;
    let _edge = scene.edge_at(proxy.address, &[("SLUICE_OUTAGE_GRACE", "0s")]);
    let (stream, _, number) = scene.running().await;
    scene.eventually(&stream, RelayState::Starting).await;

    proxy.cut().await;
    gone(number).await;
    assert_eq!(
        scene.scene.relay(&stream).await.state(),
        RelayState::Starting
    );
}

#[tokio::test]
async fn an_edge_ends_although_the_control_plane_is_away() {
    let scene = RelayScene::start().await;
    let mut proxy = Proxy::to(scene.scene.server.address).await;
    let mut edge = scene.edge_at(proxy.address, &[]);
    let (_, _, number) = scene.running().await;

    proxy.cut().await;
    edge.signal(Signal::TERM);
    assert_eq!(edge.ended().await, Some(0));
    assert!(!runs(number));
}

#[tokio::test]
async fn a_failure_during_an_outage_is_told_after_it() {
    let scene = RelayScene::start().await;
    let mut proxy = Proxy::to(scene.scene.server.address).await;
    let _edge = scene.edge_at(proxy.address, &[]);
    let (_, _, number) = scene.running().await;

    proxy.cut().await;
    send_signal(number, Signal::KILL);
    gone(number).await;
    proxy.mend().await;
    assert!(runs(scene.ffmpeg.started(2).await));
}
