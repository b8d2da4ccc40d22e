use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::{list, receive, start, total, wait_for_delivered};
use crate::{
    harness::{Engine, Postgres, Sqlite, eventually, refused},
    relay::fixture::broadcasting_report,
};

#[rstest]
#[tokio::test]
async fn a_record_is_of_a_project_or_of_a_destination_in_an_hour(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = start(engine).await;
    let (stream, destination, worker, assignment) = fixture.claimed_relay().await;
    receive(&fixture, &stream, "c1", 7000).await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 1000))
        .await;
    let owner = &fixture.owner.client;
    wait_for_delivered(owner, 1000).await;

    let of_project = pb::ListUsageRequest {
        project_id: fixture.project.id.clone(),
        ..Default::default()
    };
    let records = list(owner, of_project).await.records;
    let of_destination = pb::ListUsageRequest {
        destination_id: destination.id.clone(),
        ..Default::default()
    };
    let delivered = list(owner, of_destination).await.records;

    for record in &records {
        assert_eq!(record.project_id, fixture.project.id);
        assert_eq!(record.hour_time.unwrap().seconds % 3600, 0);
        assert_eq!(record.hour_time.unwrap().nanos, 0);
        let usage = record.usage.unwrap();
        let is_of_destination = record.destination_id == destination.id;
        assert_eq!(usage.bytes_delivered > 0, is_of_destination, "{record:?}");
        assert_eq!(usage.bytes_received > 0, !is_of_destination, "{record:?}");
    }
    let bytes: i64 = delivered
        .iter()
        .map(|one| one.usage.unwrap().bytes_delivered)
        .sum();
    assert_eq!(bytes, 1000);
    assert!(records.len() > delivered.len(), "{records:?}");
}

#[rstest]
#[tokio::test]
async fn hours_before_and_after_the_wanted_ones_do_not_count(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = start(engine).await;
    let stream = fixture.live("c1").await;
    receive(&fixture, &stream, "c1", 7000).await;
    let owner = &fixture.owner.client;
    eventually("the bytes are recorded", async || {
        (total(owner).await.bytes_received == 7000).then_some(())
    })
    .await;
    let hour = list(owner, pb::ListUsageRequest::default()).await.records[0]
        .hour_time
        .unwrap();
    let at = |seconds: i64| {
        Some(prost_types::Timestamp {
            seconds: hour.seconds + seconds,
            nanos: 0,
        })
    };

    let received = async |start_time, end_time| {
        let request = pb::GetUsageRequest {
            start_time,
            end_time,
            ..Default::default()
        };
        let answer = owner.usage.clone().get_usage(request).await.unwrap();
        answer.into_inner().usage.unwrap().bytes_received
    };
    assert_eq!(received(at(0), at(3600)).await, 7000);
    assert_eq!(received(at(0), None).await, 7000);
    assert_eq!(received(at(1), None).await, 0);
    assert_eq!(received(at(-7200), at(0)).await, 0);

    let listed = async |start_time, end_time| {
        let request = pb::ListUsageRequest {
            start_time,
            end_time,
            ..Default::default()
        };
        list(owner, request).await.records.len()
    };
    assert_eq!(listed(at(0), at(1)).await, 1);
    assert_eq!(listed(None, at(0)).await, 0);
    assert_eq!(listed(at(1), None).await, 0);
}

#[rstest]
#[tokio::test]
async fn a_time_that_ends_before_it_starts_is_refused(#[values(Sqlite)] engine: Engine) {
    let fixture = start(engine).await;
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let mut usage = fixture.owner.client.usage.clone();

    let total = pb::GetUsageRequest {
        start_time: at(100),
        end_time: at(100),
        ..Default::default()
    };
    let total = refused(usage.get_usage(total).await);
    let list = pb::ListUsageRequest {
        start_time: at(100),
        end_time: at(50),
        ..Default::default()
    };
    let list = refused(usage.list_usage(list).await);

    for refusal in [total, list] {
        assert_eq!(refusal.class(), (Code::InvalidArgument, "FIELDS_INVALID"));
        assert_eq!(refusal.fields(), ["end_time"]);
    }
}

#[rstest]
#[tokio::test]
async fn usage_remains_when_the_project_is_deleted(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = start(engine).await;
    let (_, _, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 1000))
        .await;
    let owner = &fixture.owner.client;
    wait_for_delivered(owner, 1000).await;

    let request = pb::DeleteProjectRequest {
        project_id: fixture.project.id.clone(),
        force: true,
        ..Default::default()
    };
    owner.project.clone().delete_project(request).await.unwrap();

    let of_project = pb::ListUsageRequest {
        project_id: fixture.project.id.clone(),
        ..Default::default()
    };
    assert!(!list(owner, of_project).await.records.is_empty());
    assert_eq!(total(owner).await.bytes_delivered, 1000);
}
