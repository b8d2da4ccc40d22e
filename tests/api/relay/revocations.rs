//! ClaimRelays: what workers are to give back.

use std::slice::from_ref;

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{Scene, broadcasts, runs};
use crate::harness::{Engine, Postgres, Sqlite};
use pb::RelayState::Idle;

#[rstest]
#[tokio::test]
async fn a_worker_is_told_once_that_its_relay_was_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (live, destination, mut worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;

    scene.stopped(&live, &destination).await;

    assert_eq!(worker.revoked().await, from_ref(&assignment.lease_id));
    worker.takes(runs(&assignment, Idle, 5)).await;
    // The next thing that it hears is something else.
    scene.started(&live, &destination).await;
    let again = worker.assigned(1).await;
    scene.stopped(&live, &destination).await;
    assert_eq!(worker.revoked().await, [again[0].lease_id.clone()]);
}

#[rstest]
#[tokio::test]
async fn a_worker_is_told_that_the_stream_has_ended(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;

    scene.stop_stream(&live).await;

    assert_eq!(worker.revoked().await, [assignment.lease_id]);
}

#[rstest]
#[tokio::test]
async fn a_worker_that_calls_again_keeps_its_leases_and_is_told_of_them(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] before: bool,
) {
    let scene = Scene::start(engine).await;
    let (live, destination, worker, assignment) = scene.claimed().await;
    drop(worker);
    if before {
        scene.stopped(&live, &destination).await;
    }

    let mut worker = scene.worker("w1").await;
    let first = worker.next().await.unwrap();
    assert_eq!(first.assignments, [], "nothing is given twice");
    let mut revoked: Vec<_> = first
        .revocations
        .into_iter()
        .map(|one| one.lease_id)
        .collect();
    if !before {
        worker.takes(broadcasts(&assignment, 5)).await;
        scene.stopped(&live, &destination).await;
        revoked = worker.revoked().await;
    }

    assert_eq!(revoked, [assignment.lease_id]);
}
