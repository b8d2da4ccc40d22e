//! SyncNode with concurrent reports on two replicas.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::{
    fixture::{Fixture, seconds},
    node_reports::{
        assert_no_action, begin_publish, single_adoption, sync_request, with_key, with_stream,
        with_stream_and_key,
    },
};
use crate::harness::{Client, Engine, MediaServer, Pooled, Postgres, Sqlite, refused};

const CALLS: usize = 24;

/// The result of a call: success, or the reason of the refusal.
type Outcome = Result<(), String>;

fn outcome<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>) -> Outcome {
    match answer {
        Ok(_) => Ok(()),
        Err(status) => Err(refused::<()>(Err(status)).reason),
    }
}

/// A report, a begin or an end, by turns.
async fn call(number: usize, client: Client, key: String, live: pb::Stream) -> Outcome {
    let mut stream = client.stream.clone();
    let id = number.to_string();
    match number % 4 {
        0 => outcome(
            stream
                .sync_node(sync_request("b1", &[with_key(&id, &key)]))
                .await,
        ),
        1 => outcome(begin_publish(&client, &key, MediaServer::connection(&id), true).await),
        2 => {
            let connections = [with_stream_and_key("a", &live, &key)];
            outcome(stream.sync_node(sync_request("b1", &connections)).await)
        }
        _ => {
            let request = pb::EndPublishRequest {
                stream_id: live.id,
                epoch: live.epoch,
                publisher: Some(MediaServer::connection("a")),
            };
            outcome(stream.end_publish(request).await)
        }
    }
}

#[rstest]
#[tokio::test]
async fn concurrent_reports_never_leave_two_streams(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
    #[values(
        pb::PublishConflictPolicy::RejectNew,
        pb::PublishConflictPolicy::Takeover
    )]
    policy: pb::PublishConflictPolicy,
) {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        publish_conflict_policy: policy.into(),
        ..Default::default()
    };
    let mut fixture = Fixture::with_project(engine, &[], request).await;
    let nodes = fixture.two_nodes().await;
    let live = fixture.begin_live_stream("a").await;

    let calls: JoinSet<Outcome> = (0..CALLS)
        .map(|number| {
            let client = nodes[number % 2].clone();
            call(number, client, fixture.key.clone(), live.clone())
        })
        .collect();
    for outcome in calls.join_all().await {
        let expected = ["PUBLISH_CONFLICT", "CONCURRENT_CHANGE"];
        if let Err(reason) = outcome {
            assert!(expected.contains(&&*reason), "{reason}");
        }
    }

    assert!(fixture.count_unended().await <= 1);
    // The schema ensures this; the next query checks that each change has its revision.
    let events = "select count(*) - max(revision) from events";
    assert_eq!(fixture.server.database.number(events).await, 0);
    let answer = fixture.sync("b1", &[with_key("last", &fixture.key)]).await;
    let (id, stream) = single_adoption(&answer);
    assert_eq!(id, "last");
    assert_eq!(fixture.count_unended().await, 1);
    assert_no_action(&fixture.sync("b1", &[with_stream("last", stream)]).await);
}

#[rstest]
#[tokio::test]
async fn one_report_sent_many_times_concurrently_adopts_once(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let mut fixture = Fixture::start(engine).await;
    let nodes = fixture.two_nodes().await;
    let revision = fixture.project().await.revision;

    let calls: JoinSet<_> = (0..CALLS)
        .map(|number| {
            let mut client = nodes[number % 2].stream.clone();
            let request = sync_request("b1", &[with_key("a", &fixture.key)]);
            async move { client.sync_node(request).await }
        })
        .collect();

    let mut streams = Vec::new();
    for answer in calls.join_all().await {
        let answer = answer.unwrap().into_inner();
        let (id, stream) = single_adoption(&answer);
        assert_eq!((id, stream.epoch), ("a", 1));
        streams.push(stream.id.clone());
    }
    streams.dedup();
    assert_eq!(streams, [fixture.project().await.live_stream_id]);
    assert_eq!(fixture.count_unended().await, 1);
    assert_eq!(fixture.project().await.revision, revision + 1);
}

/// All calls report the same new boot, and find the streams of the old one.
#[rstest]
#[tokio::test]
async fn concurrent_reports_end_streams_of_a_superseded_boot_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mut fixture = Fixture::start(engine).await;
    let nodes = fixture.two_nodes().await;
    let live = fixture.begin_live_stream("a").await;
    let revision = fixture.project().await.revision;

    let calls: JoinSet<_> = (0..CALLS)
        .map(|number| {
            let mut client = nodes[number % 2].stream.clone();
            async move { client.sync_node(sync_request("b2", &[])).await }
        })
        .collect();

    let mut ended = Vec::new();
    for answer in calls.join_all().await {
        ended.extend(answer.unwrap().into_inner().ended_stream_ids);
    }
    assert_eq!(ended, [live.id]);
    assert_eq!(fixture.project().await.revision, revision + 1);
    let late = fixture.sync_refusal(sync_request("b1", &[])).await;
    let superseded = (Code::FailedPrecondition, "NODE_SUPERSEDED");
    assert_eq!(late.class(), superseded);
}
