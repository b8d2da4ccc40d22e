//! CheckDestination, with a worker that answers.

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Code, Response, Status};

use super::fixture::{Fixture, Worker};
use crate::harness::{Client, Engine, Postgres, Sqlite, eventually, refused};

use pb::{DestinationCheckOutcome as Outcome, DestinationCheckStep as Step};

fn result(step: Step, outcome: Outcome) -> pb::DestinationCheckResult {
    pb::DestinationCheckResult {
        step: step.into(),
        outcome: outcome.into(),
        detail: format!("about {}", step.as_str_name()),
        duration: Some(prost_types::Duration {
            seconds: 0,
            nanos: 5_000_000,
        }),
    }
}

async fn checking_worker(fixture: &Fixture, id: &str, node_id: &str) -> Worker {
    let request = pb::ClaimRelaysRequest {
        worker_id: id.to_owned(),
        node_id: node_id.to_owned(),
        capacity: 10,
        checks_destinations: true,
        ..Default::default()
    };
    Worker::claim_with(&fixture.workers, request).await
}

async fn check(
    client: &Client,
    destination: &pb::Destination,
) -> Result<Response<pb::CheckDestinationResponse>, Status> {
    let request = pb::CheckDestinationRequest {
        destination_id: destination.id.clone(),
    };
    client.project.clone().check_destination(request).await
}

#[rstest]
#[tokio::test]
async fn a_connected_edge_checks_a_destination_without_its_key(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let mut worker = checking_worker(&fixture, "w1", "n1").await;
    for outcome in [Outcome::Passed, Outcome::Failed] {
        let results = vec![
            result(Step::Name, Outcome::Passed),
            result(Step::Tcp, outcome),
        ];
        let answering = async {
            let check = worker.next_check().await;
            assert_eq!(check.server_url, "rtmp://live.example.com/app");
            assert!(check.timeout.unwrap().seconds > 5);
            assert!(!format!("{check:?}").contains("key-of-a"));
            worker.report_check(&check.check_id, results.clone()).await;
        };
        let (answer, ()) = tokio::join!(check(&fixture.owner.client, &destination), answering);
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.is_reachable, outcome == Outcome::Passed);
        assert_eq!((answer.results, &*answer.node_id), (results, "n1"));
    }
}

#[rstest]
#[tokio::test]
async fn without_a_connected_edge_a_check_says_so(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    // One that runs relays, but does not check destinations.
    let _worker = fixture.worker("w1").await;

    let refusal = refused(check(&fixture.owner.client, &destination).await);

    assert_eq!(
        refusal.class(),
        (Code::FailedPrecondition, "NO_RELAY_WORKER")
    );
}

#[rstest]
#[tokio::test]
async fn the_edge_beside_the_media_server_of_the_live_stream_checks(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let live = fixture.live("c1").await;
    let node_id = live.publisher.unwrap().node_id;
    let _other = checking_worker(&fixture, "w2", "another-node").await;
    let refusal = refused(check(&fixture.owner.client, &destination).await);
    assert_eq!(
        refusal.class(),
        (Code::FailedPrecondition, "NO_RELAY_WORKER")
    );

    let mut worker = checking_worker(&fixture, "w1", &node_id).await;
    let answering = async {
        loop {
            let check = worker.next_check().await;
            let results = vec![result(Step::Name, Outcome::Passed)];
            worker.report_check(&check.check_id, results).await;
        }
    };
    // On a slow machine the answer may come too late: then the call is repeated.
    let checked = eventually("the edge answers in time", async || {
        let answer = check(&fixture.owner.client, &destination).await;
        let is_late = |status: &Status| status.code() == Code::Unavailable;
        (!answer.as_ref().is_err_and(is_late)).then_some(answer)
    });
    let answer = tokio::select! {
        answer = checked => answer,
        () = answering => unreachable!("it answers until the end"),
    };
    assert_eq!(answer.unwrap().into_inner().node_id, node_id);
}

#[rstest]
#[tokio::test]
async fn an_edge_at_another_replica_checks(#[values(Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let mut worker = checking_worker(&fixture, "w1", "n1").await;
    let replica = fixture.server.replica().await;
    let owner = Client::with_token(&replica, &fixture.owner.tokens.access_token);

    let answering = async {
        let check = worker.next_check().await;
        let results = vec![result(Step::Name, Outcome::Passed)];
        worker.report_check(&check.check_id, results).await;
    };
    let (answer, ()) = tokio::join!(check(&owner, &destination), answering);

    assert!(answer.unwrap().into_inner().is_reachable);
}

#[rstest]
#[tokio::test]
async fn results_of_other_workers_and_of_unknown_checks_change_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let mut worker = checking_worker(&fixture, "w1", "").await;
    let others = fixture.server.operator(&[Scope::RelaysWork]).await;
    let request = pb::ClaimRelaysRequest {
        worker_id: "w2".to_owned(),
        capacity: 10,
        ..Default::default()
    };
    let other = Worker::claim_with(&others, request).await;
    let answering = async {
        let check = worker.next_check().await;
        let wrong = vec![result(Step::Name, Outcome::Failed)];
        other.report_check(&check.check_id, wrong).await;
        let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
        worker
            .report_check(unknown, vec![result(Step::Name, Outcome::Failed)])
            .await;
        let right = vec![result(Step::Name, Outcome::Passed)];
        worker.report_check(&check.check_id, right).await;
    };
    let (answer, ()) = tokio::join!(check(&fixture.owner.client, &destination), answering);
    let answer = answer.unwrap().into_inner();
    assert_eq!((answer.is_reachable, &*answer.node_id), (true, ""));
}

#[rstest]
#[tokio::test]
async fn an_account_can_check_ten_destinations_a_minute(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let mut worker = checking_worker(&fixture, "w1", "").await;
    let client = &fixture.owner.client;
    let answering = async {
        loop {
            let check = worker.next_check().await;
            let results = vec![result(Step::Name, Outcome::Passed)];
            worker.report_check(&check.check_id, results).await;
        }
    };
    let checking = async {
        for _ in 0..10 {
            check(client, &destination).await.unwrap();
        }
        refused(check(client, &destination).await)
    };
    let refusal = tokio::select! {
        refusal = checking => refusal,
        _ = answering => unreachable!("it answers until it is dropped"),
    };
    assert_eq!(refusal.class(), (Code::ResourceExhausted, "RATE_LIMITED"));

    let stranger = fixture.server.user().await;
    let refusal = refused(check(&stranger.client, &destination).await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[tokio::test]
async fn invalid_results_are_refused() {
    let fixture = Fixture::start(Sqlite).await;
    let worker = checking_worker(&fixture, "w1", "").await;
    let wrong = pb::DestinationCheckResult {
        step: 99,
        outcome: 0,
        detail: String::new(),
        duration: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
    };
    let report = |check_id: &str, results| pb::DestinationCheckReport {
        check_id: check_id.to_owned(),
        results,
    };
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let request = pb::ReportRelaysRequest {
        worker_id: worker.id.clone(),
        destination_checks: vec![report("x", vec![]), report(id, vec![wrong])],
        ..Default::default()
    };
    let mut client = fixture.workers.stream.clone();
    let refusal = refused(client.report_relays(request).await);
    let expected = [
        "destination_checks[0].check_id",
        "destination_checks[0].results",
        "destination_checks[1].results[0].duration",
        "destination_checks[1].results[0].outcome",
        "destination_checks[1].results[0].step",
    ];
    assert_eq!(refusal.fields(), expected);
}
