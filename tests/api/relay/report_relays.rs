//! ReportRelays.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::fixture::{
    Fixture, STARTED, Worker, broadcasting_report, retryable_failure, state, state_report,
    timestamp,
};
use crate::harness::{Engine, Pooled, Postgres, Sqlite, refused};
use pb::RelayState::{Broadcasting, Idle, Stalled, Starting, Stopping};

#[rstest]
#[tokio::test]
async fn a_relay_is_broadcasting_once_its_byte_count_grows(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, worker, assignment) = fixture.claimed_relay().await;
    let before = fixture.revision().await;

    worker
        .expect_accepted(state_report(&assignment, Starting, 0))
        .await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 0))
        .await;
    let relay = fixture.relay(&live).await;
    assert_eq!((relay.state(), relay.last_progress_time), (Starting, None));
    assert_eq!(fixture.revision().await, before);

    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    let relay = fixture.relay(&live).await;
    assert_eq!(relay.state(), Broadcasting);
    assert_eq!((relay.bytes_sent, relay.bitrate_bps), (5, 40));
    assert!(relay.last_progress_time.is_some());
    assert_eq!(fixture.revision().await, before + 1);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn byte_counts_do_not_increment_the_revision(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (live, _, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    let (before, revision) = (fixture.relay(&live).await, fixture.revision().await);

    let answer = worker
        .report(vec![broadcasting_report(&assignment, 6)])
        .await;

    let after = fixture.relay(&live).await;
    assert!(timestamp(after.last_progress_time) > timestamp(before.last_progress_time));
    let expected = pb::Relay {
        bytes_sent: 6,
        bitrate_bps: 48,
        last_progress_time: after.last_progress_time,
        ..before
    };
    assert_eq!(after, expected);
    assert!(timestamp(answer.lease_expire_time) > timestamp(assignment.lease_expire_time));
    assert_eq!(answer.lease_duration.unwrap().seconds, 15);
    assert_eq!(fixture.revision().await, revision);
}

#[rstest]
#[tokio::test]
async fn a_late_report_only_renews_the_lease(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (live, _, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    let before = fixture.relay(&live).await;

    for late in [Starting, Broadcasting, Stalled, Stopping] {
        worker
            .expect_accepted(state_report(&assignment, late, 4))
            .await;
        assert_eq!(fixture.relay(&live).await, before, "{late:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_worker_can_report_a_relay_as_stalled(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (live, _, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;

    worker
        .expect_accepted(state_report(&assignment, Stalled, 5))
        .await;
    assert_eq!(fixture.relay(&live).await.state(), Stalled);
    worker
        .expect_accepted(broadcasting_report(&assignment, 6))
        .await;
    assert_eq!(fixture.relay(&live).await.state(), Broadcasting);
}

#[rstest]
#[tokio::test]
async fn a_worker_that_reported_stopping_can_only_release_the_relay(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;

    worker
        .expect_accepted(state_report(&assignment, Stopping, 5))
        .await;

    let stopping = fixture.relay(&live).await;
    assert_eq!(state(&stopping), (STARTED, Stopping));
    worker
        .expect_lost(broadcasting_report(&assignment, 6))
        .await;
    assert_eq!(fixture.relay(&live).await, stopping);
    worker
        .expect_accepted(state_report(&assignment, Idle, 6))
        .await;
    worker.next_assignments(1).await;
}

#[rstest]
#[tokio::test]
async fn a_released_relay_is_claimed_a_second_later(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;

    worker
        .expect_accepted(state_report(&assignment, Idle, 5))
        .await;

    let idle = fixture.relay(&live).await;
    assert_eq!(idle.next_retry_time, None, "it has not failed");
    let again = worker.next_assignments(1).await;
    let relay = again[0].relay.as_ref().unwrap();
    let waited = nanos(relay.update_time) - nanos(idle.update_time);
    assert!(waited >= 1_000_000_000, "{waited}");
    assert_eq!((relay.state(), relay.attempt), (Starting, 0));
    assert_eq!(relay.bytes_sent, 0, "a new try");
    assert_ne!(again[0].lease_id, assignment.lease_id);
}

#[rstest]
#[tokio::test]
async fn a_report_with_a_foreign_old_or_unknown_lease_changes_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(Broadcasting, Starting, Stalled, Stopping, Idle)] says: pb::RelayState,
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, mut worker, old) = fixture.claimed_relay().await;
    worker.expect_accepted(state_report(&old, Idle, 0)).await;
    let assignment = worker.next_assignments(1).await.remove(0);
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    let (before, revision) = (fixture.relay(&live).await, fixture.revision().await);
    let another = Worker::claim(&fixture.workers, "w2", "", 9).await;
    let unknown = pb::RelayAssignment {
        lease_id: Uuid::now_v7().to_string(),
        ..assignment.clone()
    };

    another
        .expect_lost(state_report(&assignment, says, 99))
        .await;
    worker.expect_lost(state_report(&old, says, 99)).await;
    worker.expect_lost(state_report(&unknown, says, 99)).await;

    assert_eq!(fixture.relay(&live).await, before);
    assert_eq!(fixture.revision().await, revision);
    worker
        .expect_accepted(broadcasting_report(&assignment, 6))
        .await;
}

#[rstest]
#[tokio::test]
async fn one_call_reports_many_relays(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    for name in ["a", "b", "c"] {
        fixture.destination(name).await;
    }
    let live = fixture.live("c1").await;
    let mut worker = fixture.worker("w1").await;
    let assigned = worker.next_assignments(3).await;
    worker
        .expect_accepted(broadcasting_report(&assigned[0], 5))
        .await;

    let stale = pb::RelayReport {
        lease_id: Uuid::now_v7().to_string(),
        ..broadcasting_report(&assigned[0], 5)
    };
    let reports = vec![
        broadcasting_report(&assigned[0], 6),
        stale.clone(),
        broadcasting_report(&assigned[1], 1),
        retryable_failure(&assigned[2]),
    ];
    let answer = worker.report(reports).await;

    assert_eq!(answer.lost_lease_ids, [stale.lease_id]);
    let relays = fixture.relays(&live).await;
    let states: Vec<_> = relays.iter().map(pb::Relay::state).collect();
    assert_eq!(
        states,
        [Broadcasting, Broadcasting, pb::RelayState::Retrying]
    );
    assert_eq!(relays[0].bytes_sent, 6);
    assert_eq!(worker.report(Vec::new()).await.lost_lease_ids, [""; 0]);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_report_that_cannot_be_stored_does_not_block_other_reports(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    for name in ["a", "b", "c"] {
        fixture.destination(name).await;
    }
    let live = fixture.live("c1").await;
    let mut worker = fixture.worker("w1").await;
    let assigned = worker.next_assignments(3).await;
    let broken = match engine {
        Sqlite => {
            "create trigger broken before update on relays when new.state = 'retrying'
             begin select raise(abort, 'broken'); end"
        }
        Postgres | Pooled => "alter table relays add constraint broken check (state <> 'retrying')",
    };
    fixture.server.database.execute(broken).await;

    let request = pb::ReportRelaysRequest {
        worker_id: "w1".to_owned(),
        reports: vec![
            broadcasting_report(&assigned[0], 1),
            retryable_failure(&assigned[1]),
            broadcasting_report(&assigned[2], 1),
        ],
        ..Default::default()
    };
    let refusal = refused(fixture.workers.stream.clone().report_relays(request).await);

    assert_eq!(refusal.class(), (Code::Internal, "INTERNAL"));
    let relays = fixture.relays(&live).await;
    let states: Vec<_> = relays.iter().map(pb::Relay::state).collect();
    assert_eq!(states, [Broadcasting, Starting, Broadcasting]);
    let renewed = "select count(*)
                   from relays r
                   join workers w on w.worker_id = r.worker_id
                   where w.lease_expire_time >= r.lease_expire_time";
    assert_eq!(fixture.server.database.number(renewed).await, 3);
    fixture.assert_no_missing_events().await;
}

fn nanos(time: Option<prost_types::Timestamp>) -> i64 {
    let (seconds, nanos) = timestamp(time);
    seconds * 1_000_000_000 + i64::from(nanos)
}
