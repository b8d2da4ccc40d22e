//! A worker that is started again names its run before, whose leases end at once.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{Fixture, Worker, broadcasting_report};
use crate::harness::{Client, Engine, Postgres, Sqlite, refused};

fn claim(worker_id: &str, previous_worker_id: &str) -> pb::ClaimRelaysRequest {
    pb::ClaimRelaysRequest {
        worker_id: worker_id.to_owned(),
        node_id: "n1".to_owned(),
        capacity: 10,
        previous_worker_id: previous_worker_id.to_owned(),
        ..Default::default()
    }
}

/// Starts a worker after the run with another id.
async fn restarted(client: &Client, worker_id: &str, previous_worker_id: &str) -> Worker {
    Worker::claim_with(client, claim(worker_id, previous_worker_id)).await
}

#[rstest]
#[tokio::test]
async fn relays_of_the_previous_run_are_assigned_again_before_their_leases_expire(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &["--relay-lease=1h"], 0).await;
    for name in ["a", "b"] {
        fixture.destination(name).await;
    }
    fixture.live("c1").await;
    let mut killed = Worker::claim(&fixture.workers, "w1", "n1", 10).await;
    let before = killed.next_assignments(2).await;

    let mut next = restarted(&fixture.workers, "w2", "w1").await;
    let after = next.next_assignments(2).await;

    let lost = killed
        .report(
            before
                .iter()
                .map(|one| broadcasting_report(one, 1))
                .collect(),
        )
        .await;
    assert_eq!(
        lost.lost_lease_ids.len(),
        2,
        "a run that goes on has to stop"
    );
    for assignment in &after {
        let relay = assignment.relay.as_ref().unwrap();
        assert_eq!(relay.worker_id, "w2");
        assert_eq!(relay.attempt, 0, "a killed worker is no failure of a relay");
    }
}

#[rstest]
#[tokio::test]
async fn leases_of_other_workers_stay(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start_with(engine, &["--relay-lease=1h"], 0).await;
    fixture.destination("a").await;
    fixture.live("c1").await;
    let mut other = Worker::claim(&fixture.workers, "w1", "n1", 10).await;
    let held = other.next_assignments(1).await;

    let mut next = restarted(&fixture.workers, "w3", "w2").await;
    assert!(next.next().await.unwrap().assignments.is_empty());

    let answer = other.report(vec![broadcasting_report(&held[0], 1)]).await;
    assert_eq!(answer.lost_lease_ids, [""; 0]);
}

#[tokio::test]
async fn the_previous_run_must_be_a_valid_id_and_another_one() {
    let fixture = Fixture::start(Sqlite).await;
    let mut workers = fixture.workers.stream.clone();
    for previous in ["w 1", "w2", &"w".repeat(129)] {
        let answer = workers.claim_relays(claim("w2", previous)).await;
        let refusal = refused(answer.map(|_| ().into()));
        assert_eq!(refusal.fields(), ["previous_worker_id"], "{previous}");
    }
}
