//! ClaimRelays: revocations.

use std::slice::from_ref;

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{Fixture, broadcasting_report, state_report};
use crate::harness::{Engine, Postgres, Sqlite};
use pb::RelayState::Idle;

#[rstest]
#[tokio::test]
async fn a_worker_gets_one_revocation_when_its_relay_is_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, mut worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;

    fixture.stop_relay(&live, &destination).await;

    assert_eq!(
        worker.next_revocations().await,
        from_ref(&assignment.lease_id)
    );
    worker
        .expect_accepted(state_report(&assignment, Idle, 5))
        .await;
    // The next message is not the same revocation again.
    fixture.start_relay(&live, &destination).await;
    let again = worker.next_assignments(1).await;
    fixture.stop_relay(&live, &destination).await;
    assert_eq!(worker.next_revocations().await, [again[0].lease_id.clone()]);
}

#[rstest]
#[tokio::test]
async fn a_worker_gets_a_revocation_when_the_stream_ends(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;

    fixture.stop_stream(&live).await;

    assert_eq!(worker.next_revocations().await, [assignment.lease_id]);
}

#[rstest]
#[tokio::test]
async fn a_worker_that_claims_again_keeps_its_leases_and_gets_their_revocations(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] before: bool,
) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, worker, assignment) = fixture.claimed_relay().await;
    drop(worker);
    if before {
        fixture.stop_relay(&live, &destination).await;
    }

    let mut worker = fixture.worker("w1").await;
    let first = worker.next().await.unwrap();
    assert_eq!(first.assignments, [], "nothing is given twice");
    let mut revoked: Vec<_> = first
        .revocations
        .into_iter()
        .map(|one| one.lease_id)
        .collect();
    if !before {
        worker
            .expect_accepted(broadcasting_report(&assignment, 5))
            .await;
        fixture.stop_relay(&live, &destination).await;
        revoked = worker.next_revocations().await;
    }

    assert_eq!(revoked, [assignment.lease_id]);
}
