use sluice::proto::v1::RelayState;

use super::{
    relay_scene::RelayScene,
    stub_ffmpeg::{gone, runs},
};
use crate::harness::{Proxy, eventually};

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
    eventually("the new lease is renewed", async || {
        let query = "select count(*) from relays
                     where julianday(lease_expire_time) - julianday(claim_time) > 10.0 / 86400";
        let renewed = scene.scene.server.database.number(query).await;
        (renewed == 1).then_some(())
    })
    .await;
    assert!(runs(number));
    assert_eq!(scene.ffmpeg.numbers(), [number], "{}", edge.log());

    scene.scene.stopped(&stream, &destination).await;
    gone(number).await;
    scene.eventually(&stream, RelayState::Idle).await;
}

#[tokio::test]
async fn a_relay_outlives_a_network_that_has_gone_silent() {
    let scene = RelayScene::start().await;
    let proxy = Proxy::to(scene.scene.server.address).await;
    let edge = scene.edge_at(proxy.address, &[]);
    let (stream, _, number) = scene.running().await;
    scene.eventually(&stream, RelayState::Starting).await;

    proxy.hush();
    scene.eventually(&stream, RelayState::Idle).await;
    proxy.speak();
    scene.eventually(&stream, RelayState::Starting).await;
    assert!(runs(number));
    assert_eq!(scene.ffmpeg.numbers(), [number], "{}", edge.log());
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
    edge.signal("TERM").await;
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
    super::relay_edge::signal("KILL", &number.to_string()).await;
    gone(number).await;
    proxy.mend().await;
    assert!(runs(scene.ffmpeg.started(2).await));
}
