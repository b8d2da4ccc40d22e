use sluice::proto::v1::RelayState;
use tempfile::TempDir;

use super::{
    relay_fixture::RelayFixture,
    stub_ffmpeg::{is_running, wait_for_exit},
};
use crate::harness::{Proxy, Signal, eventually, send_signal};

#[tokio::test]
async fn a_relay_survives_an_outage_and_continues_under_a_new_lease() {
    let fixture = RelayFixture::start().await;
    let mut proxy = Proxy::to(fixture.control_plane.server.address).await;
    let edge = fixture.edge_at(proxy.address, &[]);
    let (stream, destination, pid) = fixture.running_relay().await;
    let before = fixture.wait_for_state(&stream, RelayState::Starting).await;

    proxy.disconnect().await;
    let lost = fixture.wait_for_state(&stream, RelayState::Idle).await;
    assert_eq!(lost.worker_id, "");
    assert!(is_running(pid));

    proxy.reconnect().await;
    let after = fixture.wait_for_state(&stream, RelayState::Starting).await;
    assert_eq!(after.worker_id, before.worker_id);
    // Without a new lease it would last less than that.
    fixture.wait_for_renewal(9).await;
    assert!(is_running(pid));
    assert_eq!(fixture.ffmpeg.pids(), [pid], "{}", edge.log());

    fixture
        .control_plane
        .stop_relay(&stream, &destination)
        .await;
    wait_for_exit(pid).await;
    fixture.wait_for_state(&stream, RelayState::Idle).await;
}

#[tokio::test]
async fn a_relay_survives_a_restart_of_the_control_plane_under_its_lease() {
    let fixture = RelayFixture::start().await;
    let mut proxy = Proxy::to(fixture.control_plane.server.address).await;
    let edge = fixture.edge_at(proxy.address, &[]);
    let (stream, _, pid) = fixture.running_relay().await;
    let before = fixture.wait_for_state(&stream, RelayState::Starting).await;
    let claim_time = fixture.claim_time().await;

    proxy.disconnect().await;
    let fixture = fixture.restart_control_plane().await;
    proxy
        .reconnect_to(fixture.control_plane.server.address)
        .await;
    fixture.wait_for_renewal(9).await;
    let after = fixture.control_plane.relay(&stream).await;
    assert_eq!(after.worker_id, before.worker_id);
    assert_eq!(fixture.claim_time().await, claim_time);
    assert!(is_running(pid));
    assert_eq!(fixture.ffmpeg.pids(), [pid], "{}", edge.log());
}

#[tokio::test]
async fn a_relay_is_claimed_again_as_soon_as_the_control_plane_is_back() {
    let fixture = RelayFixture::start().await;
    let mut proxy = Proxy::to(fixture.control_plane.server.address).await;
    let edge = fixture.edge_at(proxy.address, &[]);
    let (stream, _, pid) = fixture.running_relay().await;
    fixture.wait_for_state(&stream, RelayState::Starting).await;

    proxy.disconnect().await;
    eventually("claims back off", async || {
        let log = edge.log();
        log.lines()
            .any(waits_longer_than_a_relay_is_held)
            .then_some(())
    })
    .await;
    proxy.reconnect().await;
    fixture.wait_for_state(&stream, RelayState::Starting).await;
    fixture.wait_for_renewal(9).await;
    assert_eq!(fixture.ffmpeg.pids(), [pid], "{}", edge.log());
}

/// Whether a log line shows a long wait.
fn waits_longer_than_a_relay_is_held(line: &str) -> bool {
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    line["wait_seconds"]
        .as_f64()
        .is_some_and(|wait| wait >= 5.0)
}

#[tokio::test]
async fn a_relay_that_was_stopped_during_an_outage_ends_after_it() {
    let fixture = RelayFixture::start().await;
    let mut proxy = Proxy::to(fixture.control_plane.server.address).await;
    let _edge = fixture.edge_at(proxy.address, &[]);
    let (stream, destination, pid) = fixture.running_relay().await;

    proxy.disconnect().await;
    fixture
        .control_plane
        .stop_relay(&stream, &destination)
        .await;
    fixture.wait_for_state(&stream, RelayState::Idle).await;
    assert!(is_running(pid));
    proxy.reconnect().await;
    wait_for_exit(pid).await;
}

#[tokio::test]
async fn without_grace_a_relay_ends_before_its_lease_does() {
    let fixture = RelayFixture::start().await;
    let mut proxy = Proxy::to(fixture.control_plane.server.address).await;
    let _edge = fixture.edge_at(proxy.address, &[("SLUICE_OUTAGE_GRACE", "0s")]);
    let (stream, _, pid) = fixture.running_relay().await;
    fixture.wait_for_state(&stream, RelayState::Starting).await;

    proxy.disconnect().await;
    wait_for_exit(pid).await;
    assert_eq!(
        fixture.control_plane.relay(&stream).await.state(),
        RelayState::Starting
    );
}

#[tokio::test]
async fn a_killed_edge_resumes_its_relays_before_their_leases_expire() {
    let fixture = RelayFixture::start_with_lease("1h").await;
    let folder = TempDir::new().unwrap();
    let settings = [("SLUICE_EDGE_DIR", folder.path().to_str().unwrap())];
    let mut edge = fixture.edge(&settings);
    let (stream, _, pid) = fixture.running_relay().await;
    let before = fixture.control_plane.relay(&stream).await;

    edge.signal(Signal::KILL);
    edge.wait_for_exit().await;
    wait_for_exit(pid).await;
    let edge = fixture.edge(&settings);

    assert!(is_running(fixture.ffmpeg.wait_for_start(2).await));
    let after = fixture.control_plane.relay(&stream).await;
    assert_ne!(after.worker_id, before.worker_id, "{}", edge.log());
}

#[tokio::test]
async fn an_outage_of_the_control_plane_is_one_warning_and_not_one_a_try() {
    let fixture = RelayFixture::start().await;
    let mut proxy = Proxy::to(fixture.control_plane.server.address).await;
    let edge = fixture.edge_at(proxy.address, &[]);
    fixture.running_relay().await;

    proxy.disconnect().await;
    eventually("several reports and claims have failed", async || {
        let log = edge.log();
        let failed = |text: &str| log.matches(text).count();
        (failed("cannot report relays") >= 3 && failed("cannot claim relays") >= 3).then_some(())
    })
    .await;

    let log = edge.log();
    let warnings = log
        .lines()
        .filter(|line| line.contains(r#""level":"WARN""#));
    let warnings: Vec<_> = warnings.collect();
    for message in ["cannot report relays", "cannot claim relays"] {
        let count = warnings
            .iter()
            .filter(|line| line.contains(message))
            .count();
        assert_eq!(count, 1, "{message}: {warnings:#?}");
    }
}

#[tokio::test]
async fn an_edge_shuts_down_without_the_control_plane() {
    let fixture = RelayFixture::start().await;
    let mut proxy = Proxy::to(fixture.control_plane.server.address).await;
    let mut edge = fixture.edge_at(proxy.address, &[]);
    let (_, _, pid) = fixture.running_relay().await;

    proxy.disconnect().await;
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_for_exit().await, Some(0));
    assert!(!is_running(pid));
}

#[tokio::test]
async fn a_relay_that_failed_during_an_outage_is_restarted_after_it() {
    let fixture = RelayFixture::start().await;
    let mut proxy = Proxy::to(fixture.control_plane.server.address).await;
    let _edge = fixture.edge_at(proxy.address, &[]);
    let (_, _, pid) = fixture.running_relay().await;

    proxy.disconnect().await;
    send_signal(pid, Signal::KILL);
    wait_for_exit(pid).await;
    proxy.reconnect().await;
    assert!(is_running(fixture.ffmpeg.wait_for_start(2).await));
}
