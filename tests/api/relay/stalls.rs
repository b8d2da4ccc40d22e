//! A relay is BROADCASTING only while its byte count grows.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{Fixture, broadcasting_report, destination_request, state_report};
use crate::harness::{Engine, Postgres, Sqlite, eventually};
use pb::RelayState::{Broadcasting, Stalled, Starting};

const SHORT_STALL_TIMEOUT: [&str; 1] = ["--relay-stall-timeout=3s"];

/// Extends all leases, so that only stalls are detected.
const EXTEND_LEASES: &str = "update relays set lease_expire_time = '2999-01-01T00:00:00+00:00'";

#[rstest]
#[tokio::test]
async fn a_relay_stalls_without_byte_growth_whatever_state_is_reported(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(Broadcasting, Starting)] says: pb::RelayState,
) {
    let fixture = Fixture::start_with(engine, &SHORT_STALL_TIMEOUT, 0).await;
    let (live, _, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;

    let stalled = eventually("the relay stalls", async || {
        worker
            .expect_accepted(state_report(&assignment, says, 5))
            .await;
        let relay = fixture.relay(&live).await;
        (relay.state() == Stalled).then_some(relay)
    })
    .await;
    assert_eq!((stalled.bytes_sent, &*stalled.worker_id), (5, "w1"));

    worker
        .expect_accepted(broadcasting_report(&assignment, 6))
        .await;
    assert_eq!(fixture.relay(&live).await.state(), Broadcasting);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn an_unreported_relay_stalls_unless_its_stream_is_reconnecting(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--relay-stall-timeout=300ms", "--relay-lease=3s"];
    let fixture = Fixture::start_with(engine, &flags, 60).await;
    fixture.destination("held").await;
    let live = fixture.live("c1").await;
    let mut worker = fixture.worker("w1").await;
    let held = worker.next_assignments(1).await.remove(0);
    worker.expect_accepted(broadcasting_report(&held, 5)).await;
    fixture.server.database.execute(EXTEND_LEASES).await;
    fixture.node.end(&live, "c1").await;
    let before = fixture.relay(&live).await;

    let (project, key) = fixture.owner.project().await;
    fixture
        .create_destination(destination_request(&project, "b"))
        .await;
    let other = fixture.node.live(&key, "c2").await;
    let assignment = worker.next_assignments(1).await.remove(0);
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    fixture.server.database.execute(EXTEND_LEASES).await;

    fixture.wait_for_state(&other, Stalled).await;
    worker.expect_accepted(broadcasting_report(&held, 5)).await;
    worker
        .expect_accepted(state_report(&held, Stalled, 5))
        .await;

    let after = fixture.relay(&live).await;
    assert_eq!(after.state(), before.state());
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn time_spent_reconnecting_does_not_count_as_a_stall(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];
    let fixture = Fixture::start_with(engine, &flags, 60).await;
    let (live, _, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    eventually("the stream reconnects", async || {
        let stream = fixture.owner.stream(&live.id).await;
        (stream.state() == pb::StreamState::Reconnecting).then_some(())
    })
    .await;
    fixture.backdate("silent_since").await;
    fixture.server.database.execute(EXTEND_LEASES).await;

    let again = fixture.node.heartbeat(&live, "c1").await.stream.unwrap();
    assert_eq!(again.state(), pb::StreamState::Live);
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;

    assert_eq!(fixture.relay(&live).await.state(), Broadcasting);
}
