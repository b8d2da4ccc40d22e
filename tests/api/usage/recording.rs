use std::time::Duration;

use rstest::rstest;
use sluice::proto::v1 as pb;
use uuid::Uuid;

use super::fixture::{receive, start, total, wait_for_delivered, wait_for_reading};
use crate::{
    harness::{Client, Engine, Postgres, Sqlite, eventually},
    relay::fixture::{broadcasting_report, retryable_failure, state_report},
};

/// A time of the contract, in microseconds since 1970.
fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.unwrap();
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1000
}

#[rstest]
#[tokio::test]
async fn delivered_bytes_count_once_whatever_is_repeated_late_or_foreign(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = start(engine).await;
    let (_, _, worker, assignment) = fixture.claimed_relay().await;
    let owner = &fixture.owner.client;

    let report = |bytes| broadcasting_report(&assignment, bytes);
    worker.expect_accepted(report(1000)).await;
    wait_for_delivered(owner, 1000).await;
    worker.expect_accepted(report(1000)).await;
    worker.expect_accepted(report(400)).await;
    let foreign = pb::RelayReport {
        lease_id: Uuid::now_v7().to_string(),
        ..report(50_000)
    };
    worker.expect_lost(foreign).await;
    // Figures are written with a change of the state, and else after a while.
    let stalled = state_report(&assignment, pb::RelayState::Stalled, 1500);
    worker.expect_accepted(stalled).await;

    wait_for_delivered(owner, 1500).await;
    wait_for_reading(&fixture).await;
    assert_eq!(total(owner).await.bytes_delivered, 1500);
}

#[rstest]
#[tokio::test]
async fn every_attempt_of_a_relay_counts_and_a_lost_lease_adds_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = start(engine).await;
    let (stream, _, mut worker, first) = fixture.claimed_relay().await;
    let owner = &fixture.owner.client;

    worker
        .expect_accepted(broadcasting_report(&first, 800))
        .await;
    // The bytes since the last reading must not be lost with the lease.
    worker
        .expect_accepted(broadcasting_report(&first, 1000))
        .await;
    let failed = pb::RelayReport {
        bytes_sent: 1000,
        ..retryable_failure(&first)
    };
    worker.report(vec![failed]).await;
    let second = worker.next_assignments(1).await.remove(0);
    worker
        .expect_accepted(broadcasting_report(&second, 70))
        .await;
    worker.expect_lost(broadcasting_report(&first, 9000)).await;

    wait_for_delivered(owner, 1070).await;
    fixture.stop_stream(&stream).await;
    wait_for_delivered(owner, 1070).await;
}

#[rstest]
#[tokio::test]
async fn replicas_that_record_at_once_count_once(#[values(Postgres)] engine: Engine) {
    let fixture = start(engine).await;
    let _replicas = (
        fixture.server.replica().await,
        fixture.server.replica().await,
    );
    let (stream, _, worker, assignment) = fixture.claimed_relay().await;

    for bytes in 1..=50 {
        let report = broadcasting_report(&assignment, 1000 * bytes);
        worker.expect_accepted(report).await;
        receive(&fixture, &stream, "c1", 2000 * bytes).await;
    }
    let stalled = state_report(&assignment, pb::RelayState::Stalled, 50_000);
    worker.expect_accepted(stalled).await;

    wait_for_delivered(&fixture.owner.client, 50_000).await;
    eventually("the received bytes are recorded", async || {
        (total(&fixture.owner.client).await.bytes_received == 100_000).then_some(())
    })
    .await;
    let ended = fixture.node.end(&stream, "c1").await;
    let lived = micros(ended.end_time) - micros(ended.live_time);
    eventually("the whole time is recorded", async || {
        (stream_micros(&fixture.owner.client).await == lived).then_some(())
    })
    .await;
    wait_for_delivered(&fixture.owner.client, 50_000).await;
}

#[rstest]
#[tokio::test]
async fn the_time_of_a_stream_is_that_from_live_to_its_end(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = start(engine).await;
    let stream = fixture.live("c1").await;
    wait_for_reading(&fixture).await;
    wait_for_reading(&fixture).await;

    let ended = fixture.node.end(&stream, "c1").await;

    let lived = micros(ended.end_time) - micros(ended.live_time);
    eventually("the whole time is recorded", async || {
        (stream_micros(&fixture.owner.client).await == lived).then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn a_stream_that_was_never_live_uses_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = start(engine).await;
    let begun = fixture.node.begin(&fixture.key, "c1").await.unwrap();
    fixture
        .node
        .end(&begun.into_inner().stream.unwrap(), "c1")
        .await;
    // Another stream proves that the meters are read meanwhile.
    fixture.live("c2").await;
    wait_for_reading(&fixture).await;

    let records = fixture.server.database.number(
        "select count(*) from usage_records r
         where not exists (select 1 from streams s
                           where s.project_id = r.project_id and s.live_time is not null)",
    );
    assert_eq!(records.await, 0);
    assert_eq!(total(&fixture.owner.client).await.bytes_received, 0);
}

#[rstest]
#[tokio::test]
async fn the_bytes_of_each_connection_of_a_stream_count(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = crate::relay::fixture::Fixture::start_with(engine, &super::fixture::FLAGS, 60);
    let fixture = fixture.await;
    let received = async |bytes| {
        eventually("the received bytes are recorded", async || {
            (total(&fixture.owner.client).await.bytes_received == bytes).then_some(())
        })
        .await;
    };
    let stream = fixture.live("c1").await;
    receive(&fixture, &stream, "c1", 5000).await;
    received(5000).await;

    fixture.node.end(&stream, "c1").await;
    let resumed = fixture.live("c2").await;
    assert_eq!(resumed.id, stream.id, "the same stream");
    receive(&fixture, &resumed, "c2", 300).await;

    received(5300).await;
}

async fn stream_micros(client: &Client) -> i64 {
    let time = total(client).await.stream_time.unwrap();
    i64::try_from(Duration::try_from(time).unwrap().as_micros()).unwrap()
}
