//! Expiry of leases.

use chrono::{TimeDelta, Utc};
use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};

use super::fixture::{
    Fixture, STARTED, STOPPED, Worker, broadcasting_report, destination_request, retryable_failure,
    state, timestamp,
};
use crate::harness::{
    Client, Engine, FullDisk, Pooled, Postgres, Process, Sqlite, TestDatabase, TestServer,
    eventually, exchange,
};
use pb::RelayState::{Broadcasting, Idle, Starting};

const SHORT_LEASE: [&str; 1] = ["--relay-lease=2s"];

#[rstest]
#[tokio::test]
async fn a_relay_of_a_dead_worker_is_reassigned_with_its_attempt_count(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &SHORT_LEASE, 0).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;
    worker.expect_accepted(retryable_failure(&assignment)).await;
    let again = worker.next_assignments(1).await.remove(0);
    worker.expect_accepted(broadcasting_report(&again, 5)).await;
    let (id, last) = (worker.id.clone(), again.clone());
    drop(worker);

    let mut other = fixture.worker("w2").await;
    let over = other.next_assignments(1).await.remove(0);

    let relay = over.relay.as_ref().unwrap();
    assert_eq!((relay.state(), relay.attempt), (Starting, 1));
    assert_eq!(relay.worker_id, "w2");
    assert_ne!(over.lease_id, last.lease_id);
    let dead = Worker::claim(&fixture.workers, &id, "n9", 1).await;
    dead.expect_lost(broadcasting_report(&last, 99)).await;
    other.expect_accepted(broadcasting_report(&over, 1)).await;
    assert_eq!(fixture.relay(&live).await.bytes_sent, 1);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn reports_renew_a_lease_while_an_unreported_one_expires(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &["--relay-lease=2s"], 0).await;
    fixture.destination("a").await;
    let live = fixture.live("c1").await;
    let mut heard = fixture.worker("heard").await;
    let assignment = heard.next_assignments(1).await.remove(0);
    let (project, key) = fixture.owner.project().await;
    fixture
        .create_destination(destination_request(&project, "b"))
        .await;
    let other = fixture.node.live(&key, "c2").await;
    let silent = heard.next_assignments(1).await.remove(0);
    // No worker is left to claim the expired relay again.
    let mut bytes = 0;
    let reporter = Worker::claim(&fixture.workers, "heard", "n9", 1).await;
    drop(heard);

    eventually("the unreported lease expires", async || {
        bytes += 1;
        reporter
            .expect_accepted(broadcasting_report(&assignment, bytes))
            .await;
        let relay = fixture.relay(&other).await;
        (relay.state() == Idle).then_some(())
    })
    .await;

    assert_eq!(fixture.relay(&live).await.state(), Broadcasting);
    reporter.expect_lost(broadcasting_report(&silent, 1)).await;
}

#[rstest]
#[tokio::test]
async fn a_stopping_relay_becomes_idle_when_its_worker_dies(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &SHORT_LEASE, 0).await;
    let (live, destination, worker, _) = fixture.claimed_relay().await;
    drop(worker);
    fixture.stop_relay(&live, &destination).await;

    let idle = fixture.wait_for_state(&live, Idle).await;

    assert_eq!(state(&idle), (STOPPED, Idle));
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_server_restart_expires_no_lease(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (_, _, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    drop(worker);
    // As if the server had been down for long: after a start it must wait before it expires
    // anything.
    fixture.backdate("lease_expire_time").await;
    fixture.backdate("silent_since").await;

    let server = fixture.server.restart().await;

    let workers = server.operator(&[Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&workers, "w1", "", 9).await;
    assert_eq!(worker.next().await.unwrap().assignments, []);
    worker
        .expect_accepted(broadcasting_report(&assignment, 6))
        .await;
    let query = "select count(*) from relays where state = 'broadcasting'";
    assert_eq!(server.database.number(query).await, 1);
}

/// When nothing can be written, no report is either. Workers report first when it can again.
#[rstest]
#[tokio::test]
async fn after_writes_have_failed_no_lease_expires_before_workers_could_report(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    const LEASE: TimeDelta = TimeDelta::seconds(2);
    let database = TestDatabase::create(engine).await.direct();
    let disk = FullDisk::for_sqlite().await;
    let program = Process::serve_on_disk(&database, &disk, &[("SLUICE_RELAY_LEASE", "2s")]);
    let channel = program.channel().await;
    let server = TestServer::start_on(database, &["--relay-lease=10min"]).await;
    let fixture = Fixture::over(server, 0).await;
    fixture.destination("a").await;
    let live = fixture.live("c1").await;
    let (_, key) = fixture
        .server
        .operator_key(&[Scope::RelaysWork], None, None)
        .await;
    let workers = Client::with_token(&channel, &exchange(&channel, &key).await);
    let mut worker = Worker::claim(&workers, "w1", "", 1).await;
    worker.next_assignments(1).await;
    let database = &fixture.server.database;
    match engine {
        Sqlite => disk.fill(),
        Postgres | Pooled => database.refuse_writes().await,
    }
    drop(worker);
    eventually("an expiry fails", async || {
        let mut lines = program.log().into_iter();
        lines.find(|line| line.contains("cannot expire overdue relays"))
    })
    .await;

    let recovered = Utc::now();
    match engine {
        Sqlite => disk.free(),
        Postgres | Pooled => database.accept_writes().await,
    }
    let request = pb::ListRelaysRequest {
        stream_id: live.id.clone(),
        ..Default::default()
    };
    let streams = &fixture.owner.client.stream;
    let idle = eventually("the lease expires", async || {
        // A session of PostgreSQL that was terminated fails one call.
        let listed = streams.clone().list_relays(request.clone()).await.ok()?;
        let relay = listed.into_inner().relays.remove(0);
        (relay.state() == Idle).then_some(relay)
    })
    .await;

    let expired = timestamp(idle.update_time);
    let earliest = recovered + LEASE;
    assert!(
        expired
            >= (
                earliest.timestamp(),
                earliest.timestamp_subsec_nanos() as i32
            ),
        "{idle:?}, recovered at {recovered}"
    );
}

#[rstest]
#[tokio::test]
async fn two_servers_expire_a_lease_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start_with(engine, &SHORT_LEASE, 0).await;
    fixture.server.replica().await;
    for number in 0..10 {
        fixture.destination(&number.to_string()).await;
    }
    let live = fixture.live("c1").await;
    let mut worker = fixture.worker("w1").await;
    worker.next_assignments(10).await;
    drop(worker);
    let before = fixture.revision().await;

    let relays = eventually("all leases expire", async || {
        let relays = fixture.relays(&live).await;
        let idle = relays.iter().all(|relay| state(relay) == (STARTED, Idle));
        idle.then_some(relays)
    })
    .await;

    assert_eq!(relays.len(), 10);
    assert_eq!(fixture.revision().await, before + 10);
    fixture.assert_no_missing_events().await;
}
