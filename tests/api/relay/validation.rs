//! Validation of fields.

use rstest::rstest;
use sluice::proto::v1 as pb;
use uuid::Uuid;

use super::fixture::{Fixture, broadcasting_report, retryable_failure};
use crate::harness::{Engine, Postgres, Sqlite, refused};

#[tokio::test]
async fn malformed_ids_are_invalid_fields() {
    let fixture = Fixture::start(Sqlite).await;
    let mut streams = fixture.owner.client.stream.clone();

    let start = streams.start_relay(pb::StartRelayRequest::default()).await;
    let stop = streams.stop_relay(pb::StopRelayRequest::default()).await;
    let list = streams.list_relays(pb::ListRelaysRequest::default()).await;

    let both = ["destination_id", "stream_id"];
    assert_eq!(refused(start).fields(), both);
    assert_eq!(refused(stop).fields(), both);
    assert_eq!(refused(list).fields(), ["stream_id"]);
}

#[tokio::test]
async fn a_claim_needs_a_valid_worker_id_node_id_and_capacity() {
    let fixture = Fixture::start(Sqlite).await;
    let mut workers = fixture.workers.stream.clone();
    for (worker_id, node_id, capacity, fields) in [
        ("", "n 1", 0, &["capacity", "node_id", "worker_id"][..]),
        ("w1", "", 1001, &["capacity"]),
        ("w1", "", -1, &["capacity"]),
        (&"w".repeat(129), "n1", 1, &["worker_id"]),
    ] {
        let request = pb::ClaimRelaysRequest {
            worker_id: worker_id.to_owned(),
            node_id: node_id.to_owned(),
            capacity,
            ..Default::default()
        };
        let refusal = refused(workers.claim_relays(request).await.map(|_| ().into()));
        assert_eq!(refusal.fields(), fields);
    }
}

fn report(state: pb::RelayState) -> pb::RelayReport {
    let assignment = pb::RelayAssignment {
        lease_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    super::fixture::state_report(&assignment, state, 1)
}

#[tokio::test]
async fn every_invalid_field_of_every_report_is_named() {
    let fixture = Fixture::start(Sqlite).await;
    let good = report(pb::RelayState::Broadcasting);
    let wrong = pb::RelayReport {
        lease_id: "x".to_owned(),
        state: 99,
        bytes_sent: -1,
        bitrate_bps: -1,
        error: Some(pb::RelayError {
            code: "not a code".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let without = report(pb::RelayState::Failed);
    let retrying = report(pb::RelayState::Retrying);
    let unspecified = report(pb::RelayState::Unspecified);
    let request = pb::ReportRelaysRequest {
        worker_id: String::new(),
        reports: vec![good.clone(), wrong, without, good, retrying, unspecified],
        ..Default::default()
    };

    let refusal = refused(fixture.workers.stream.clone().report_relays(request).await);

    assert_eq!(
        refusal.fields(),
        [
            "reports[1].bitrate_bps",
            "reports[1].bytes_sent",
            "reports[1].error.code",
            "reports[1].error.severity",
            "reports[1].lease_id",
            "reports[1].state",
            "reports[2].error",
            "reports[3].lease_id",
            "reports[4].error",
            "reports[5].state",
            "worker_id",
        ]
    );
}

#[tokio::test]
async fn an_invalid_report_prevents_all_reports_of_its_call() {
    let fixture = Fixture::start(Sqlite).await;
    let (live, _, worker, assignment) = fixture.claimed_relay().await;
    let before = fixture.relay(&live).await;
    let request = pb::ReportRelaysRequest {
        worker_id: worker.id.clone(),
        reports: vec![
            broadcasting_report(&assignment, 5),
            retryable_failure(&assignment),
        ],
        ..Default::default()
    };

    let refusal = refused(fixture.workers.stream.clone().report_relays(request).await);

    assert_eq!(refusal.fields(), ["reports[1].lease_id"]);
    assert_eq!(fixture.relay(&live).await, before);
}

#[rstest]
#[tokio::test]
async fn a_call_has_at_most_a_thousand_reports(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let mut workers = fixture.workers.stream.clone();
    for (count, taken) in [(1000, true), (1001, false)] {
        let reports = (0..count).map(|_| report(pb::RelayState::Idle)).collect();
        let request = pb::ReportRelaysRequest {
            worker_id: "w1".to_owned(),
            reports,
            ..Default::default()
        };
        let answer = workers.report_relays(request).await;
        match taken {
            true => assert_eq!(answer.unwrap().into_inner().lost_lease_ids.len(), count),
            false => assert_eq!(refused(answer).fields(), ["reports"]),
        }
    }
}

#[tokio::test]
async fn only_the_first_fifty_of_very_many_invalid_fields_are_named() {
    let fixture = Fixture::start(Sqlite).await;
    let request = pb::ReportRelaysRequest {
        worker_id: "w1".to_owned(),
        reports: vec![pb::RelayReport::default(); 1000],
        ..Default::default()
    };

    let refusal = refused(fixture.workers.stream.clone().report_relays(request).await);

    let fields = refusal.fields();
    assert_eq!(fields.len(), 50, "{fields:?}");
    assert!(fields.contains(&"reports[24].state"));
}
