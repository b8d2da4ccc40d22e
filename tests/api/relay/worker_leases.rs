//! Leases that last as long as their worker reports all of them, and figures between two writes.

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};

use super::fixture::{Fixture, PAST, Worker, broadcasting_report};
use crate::harness::{Engine, Postgres, Sqlite, eventually};
use pb::RelayState::{Broadcasting, Idle, Stalled};

/// The number of relays whose leases last with their worker.
const COVERED: &str = "select count(*) from relays
                       where lease_expire_time > '9999-01-01T00:00:00+00:00'";

/// What servers of the previous version find overdue, even in the year 2999.
const OVERDUE_BEFORE: &str = "select count(*) from relays
    where lease_id is not null and lease_expire_time <= '2999-01-01T00:00:00+00:00'
       or state = 'broadcasting' and silent_since <= '2999-01-01T00:00:00+00:00'";

/// What they write when a report reaches them.
const RENEW_BEFORE: &str = "update relays
    set lease_expire_time = '2998-01-01T00:00:00+00:00', silent_since = claim_time";

/// Three relays that a worker has reported as broadcasting more than once.
async fn covered(fixture: &Fixture) -> (pb::Stream, Worker, Vec<pb::RelayAssignment>) {
    for name in ["a", "b", "c"] {
        fixture.destination(name).await;
    }
    let live = fixture.live("c1").await;
    let mut worker = fixture.worker("w1").await;
    let assigned = worker.next_assignments(3).await;
    for bytes in [5, 6] {
        assert_accepted(&worker, &assigned, bytes).await;
    }
    assert_eq!(covered_relays(fixture).await, 3);
    (live, worker, assigned)
}

async fn assert_accepted(worker: &Worker, of: &[pb::RelayAssignment], bytes: i64) {
    let reports = of.iter().map(|one| broadcasting_report(one, bytes));
    let answer = worker.report(reports.collect()).await;
    assert_eq!(answer.lost_lease_ids, [""; 0]);
}

async fn covered_relays(fixture: &Fixture) -> i64 {
    fixture.server.database.number(COVERED).await
}

async fn stored_bytes(fixture: &Fixture) -> i64 {
    let query = "select max(bytes_sent) from relays";
    fixture.server.database.number(query).await
}

async fn states(fixture: &Fixture, stream: &pb::Stream) -> Vec<pb::RelayState> {
    let relays = fixture.relays(stream).await;
    relays.iter().map(pb::Relay::state).collect()
}

#[rstest]
#[tokio::test]
async fn a_report_of_all_relays_shows_bytes_at_once_and_writes_them_every_30_seconds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, worker, assigned) = covered(&fixture).await;
    let before = stored_bytes(&fixture).await;

    assert_accepted(&worker, &assigned, 700).await;

    assert_eq!(stored_bytes(&fixture).await, before);
    let shown = fixture.relays(&live).await;
    assert!(
        shown.iter().all(|relay| relay.bytes_sent == 700),
        "{shown:?}"
    );
    assert_eq!(shown[0].bitrate_bps, 5600);

    fixture.backdate("last_progress_time").await;
    assert_accepted(&worker, &assigned, 800).await;
    assert_eq!(stored_bytes(&fixture).await, 800);
    // A state change writes what was reported before.
    assert_accepted(&worker, &assigned, 900).await;
    let destination = fixture.relays(&live).await[0].destination_id.clone();
    let destination = pb::Destination {
        id: destination,
        ..Default::default()
    };
    fixture.stop_relay(&live, &destination).await;
    assert_eq!(stored_bytes(&fixture).await, 900);
}

#[rstest]
#[tokio::test]
async fn dropped_packets_are_written_at_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (_, worker, assigned) = covered(&fixture).await;

    let reports = assigned.iter().map(|one| pb::RelayReport {
        dropped_packets: 4,
        ..broadcasting_report(one, 7)
    });
    worker.report(reports.collect()).await;

    let query = "select count(*) from relays where dropped_packets = 4 and bytes_sent = 7";
    assert_eq!(fixture.server.database.number(query).await, 3);
}

#[rstest]
#[tokio::test]
async fn relays_of_a_worker_that_goes_silent_stall_and_are_taken_over(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--relay-stall-timeout=2s", "--relay-lease=10s"];
    let fixture = Fixture::start_with(engine, &flags, 0).await;
    let (live, worker, assigned) = covered(&fixture).await;
    let silent = worker.id.clone();
    drop(worker);

    eventually("all relays stall", async || {
        let states = states(&fixture, &live).await;
        states.iter().all(|state| *state == Stalled).then_some(())
    })
    .await;
    eventually("all leases expire", async || {
        let states = states(&fixture, &live).await;
        states.iter().all(|state| *state == Idle).then_some(())
    })
    .await;
    let mut other = fixture.worker("w2").await;
    let taken_over = other.next_assignments(3).await;

    let back = Worker::claim(&fixture.workers, &silent, "n9", 1).await;
    for lost in &assigned {
        back.expect_lost(broadcasting_report(lost, 99)).await;
    }
    assert_accepted(&other, &taken_over, 1).await;
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_lease_that_is_left_out_of_reports_expires_alone(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &["--relay-lease=2s"], 0).await;
    let (live, worker, assigned) = covered(&fixture).await;
    let worker_id = worker.id.clone();
    drop(worker);
    let reporter = Worker::claim(&fixture.workers, &worker_id, "n9", 1).await;
    let mut bytes = 6;

    eventually("the third lease expires", async || {
        bytes += 1;
        assert_accepted(&reporter, &assigned[..2], bytes).await;
        let states = states(&fixture, &live).await;
        (states == [Broadcasting, Broadcasting, Idle]).then_some(())
    })
    .await;

    reporter
        .expect_lost(broadcasting_report(&assigned[2], 99))
        .await;
    // The others are all that it has now.
    assert_accepted(&reporter, &assigned[..2], 100).await;
    assert_eq!(covered_relays(&fixture).await, 2);
}

#[rstest]
#[tokio::test]
async fn servers_of_the_previous_version_neither_expire_nor_stall_a_reported_relay(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--relay-lease=2s", "--relay-stall-timeout=1h"];
    let fixture = Fixture::start_with(engine, &flags, 0).await;
    let (live, worker, assigned) = covered(&fixture).await;
    let database = &fixture.server.database;
    assert_eq!(database.number(OVERDUE_BEFORE).await, 0);

    // Its reports go to such a server, and the lease of the worker ends.
    database.execute(RENEW_BEFORE).await;
    let ended = format!("update workers set lease_expire_time = {PAST}");
    database.execute(&ended).await;
    let mut another = fixture.worker("w2").await;
    fixture.assert_not_assigned(&mut another, &live).await;
    assert_eq!(states(&fixture, &live).await[..3], [Broadcasting; 3]);

    assert_accepted(&worker, &assigned, 8).await;
    assert_eq!(covered_relays(&fixture).await, 3);
}

#[rstest]
#[tokio::test]
async fn reports_may_reach_any_server(#[values(Sqlite, Postgres)] engine: Engine) {
    let flags = ["--relay-stall-timeout=5s", "--relay-lease=8s"];
    let mut fixture = Fixture::start_with(engine, &flags, 0).await;
    let (live, worker, assigned) = covered(&fixture).await;
    let channel = fixture.server.replica().await;
    let origin = std::mem::replace(&mut fixture.server.channel, channel);
    let there = fixture.server.operator(&[Scope::RelaysWork]).await;
    fixture.server.channel = origin;
    let id = worker.id.clone();
    let elsewhere = Worker::claim(&there, &id, "", 1000).await;

    for (round, reporter) in [&worker, &elsewhere]
        .into_iter()
        .cycle()
        .take(12)
        .enumerate()
    {
        let bytes = 100 + i64::try_from(round).unwrap();
        assert_accepted(reporter, &assigned, bytes).await;
        assert_eq!(states(&fixture, &live).await, [Broadcasting; 3]);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    let relays = fixture.relays(&live).await;
    assert!(
        relays.iter().all(|relay| relay.bytes_sent >= 110),
        "{relays:?}"
    );

    // No server has seen bytes grow for longer than the timeout.
    eventually("all relays stall", async || {
        for reporter in [&worker, &elsewhere] {
            assert_accepted(reporter, &assigned, 111).await;
        }
        let states = states(&fixture, &live).await;
        states.iter().all(|state| *state == Stalled).then_some(())
    })
    .await;
}

/// Nothing that a report changes is indexed, so PostgreSQL writes neither indexes nor other pages.
#[tokio::test]
async fn reports_and_syncs_are_hot_updates() {
    let fixture = Fixture::start(Postgres).await;
    let (_, worker, assigned) = covered(&fixture).await;
    let database = &fixture.server.database;
    // The database may be one of earlier tests.
    let of_relays = "select n_tup_upd from pg_stat_user_tables where relname = 'relays'";
    let relays_before = database.number(of_relays).await;
    let updates = "select n_tup_upd from pg_stat_user_tables where relname = 'workers'";
    let before = eventually("the statistics are there", async || {
        let updates = database.number(updates).await;
        (updates > 0).then_some(updates)
    })
    .await;

    for bytes in 0..200 {
        assert_accepted(&worker, &assigned, 100 + bytes).await;
    }

    let share = "select 100 * n_tup_hot_upd / n_tup_upd from pg_stat_user_tables
                 where relname = 'workers'";
    eventually("the updates are counted", async || {
        (database.number(updates).await >= before + 200).then_some(())
    })
    .await;
    let share = database.number(share).await;
    assert!(share >= 95, "{share} % of the updates of workers are HOT");
    // Only the changes of their states are written to the rows of the relays.
    let written = database.number(of_relays).await - relays_before;
    assert!(written < 100, "{written} updates of relays");
}
