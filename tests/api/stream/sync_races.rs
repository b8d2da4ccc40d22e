//! SyncNode among reports that come at the same time, over two replicas.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::{
    node::{adopted, agrees, begin, holding, keyed, report, unknown},
    scene::{Scene, seconds},
};
use crate::harness::{Client, Engine, MediaServer, Postgres, Sqlite, refused};

const CALLS: usize = 24;

/// What one of them was told: its refusal's reason, or nothing.
type Told = Result<(), String>;

fn told<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>) -> Told {
    match answer {
        Ok(_) => Ok(()),
        Err(status) => Err(refused::<()>(Err(status)).reason),
    }
}

/// A report, a begin or an end, one after the other.
async fn call(number: usize, client: Client, key: String, live: pb::Stream) -> Told {
    let mut stream = client.stream.clone();
    let id = number.to_string();
    match number % 4 {
        0 => told(stream.sync_node(report("b1", &[unknown(&id, &key)])).await),
        1 => told(begin(&client, &key, MediaServer::connection(&id), true).await),
        2 => {
            let connections = [keyed("a", &live, &key)];
            told(stream.sync_node(report("b1", &connections)).await)
        }
        _ => {
            let request = pb::EndPublishRequest {
                stream_id: live.id,
                epoch: live.epoch,
                publisher: Some(MediaServer::connection("a")),
            };
            told(stream.end_publish(request).await)
        }
    }
}

#[rstest]
#[tokio::test]
async fn whatever_is_reported_at_once_there_are_never_two_streams(
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
    let mut scene = Scene::of(engine, &[], request).await;
    let nodes = scene.two_nodes().await;
    let live = scene.begun_live("a").await;

    let calls: JoinSet<Told> = (0..CALLS)
        .map(|number| {
            let client = nodes[number % 2].clone();
            call(number, client, scene.key.clone(), live.clone())
        })
        .collect();
    for told in calls.join_all().await {
        let expected = ["PUBLISH_CONFLICT", "CONCURRENT_CHANGE"];
        if let Err(reason) = told {
            assert!(expected.contains(&&*reason), "{reason}");
        }
    }

    assert!(scene.unended().await <= 1);
    // The schema allows no other; but also no change went unnumbered.
    let events = "select count(*) - max(revision) from events";
    assert_eq!(scene.server.database.number(events).await, 0);
    let answer = scene.sync("b1", &[unknown("last", &scene.key)]).await;
    let (id, stream) = adopted(&answer);
    assert_eq!(id, "last");
    assert_eq!(scene.unended().await, 1);
    agrees(&scene.sync("b1", &[holding("last", stream)]).await);
}

#[rstest]
#[tokio::test]
async fn one_report_many_times_at_once_adopts_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let mut scene = Scene::start(engine).await;
    let nodes = scene.two_nodes().await;
    let revision = scene.project().await.revision;

    let calls: JoinSet<_> = (0..CALLS)
        .map(|number| {
            let mut client = nodes[number % 2].stream.clone();
            let request = report("b1", &[unknown("a", &scene.key)]);
            async move { client.sync_node(request).await }
        })
        .collect();

    let mut streams = Vec::new();
    for answer in calls.join_all().await {
        let answer = answer.unwrap().into_inner();
        let (id, stream) = adopted(&answer);
        assert_eq!((id, stream.epoch), ("a", 1));
        streams.push(stream.id.clone());
    }
    streams.dedup();
    assert_eq!(streams, [scene.project().await.live_stream_id]);
    assert_eq!(scene.unended().await, 1);
    assert_eq!(scene.project().await.revision, revision + 1);
}

/// Both have the same new boot to tell of; each finds what the old one left.
#[rstest]
#[tokio::test]
async fn what_a_dead_boot_left_ends_once_however_many_notice(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mut scene = Scene::start(engine).await;
    let nodes = scene.two_nodes().await;
    let live = scene.begun_live("a").await;
    let revision = scene.project().await.revision;

    let calls: JoinSet<_> = (0..CALLS)
        .map(|number| {
            let mut client = nodes[number % 2].stream.clone();
            async move { client.sync_node(report("b2", &[])).await }
        })
        .collect();

    let mut ended = Vec::new();
    for answer in calls.join_all().await {
        ended.extend(answer.unwrap().into_inner().ended_stream_ids);
    }
    assert_eq!(ended, [live.id]);
    assert_eq!(scene.project().await.revision, revision + 1);
    let late = scene.sync_refusal(report("b1", &[])).await;
    let superseded = (Code::FailedPrecondition, "NODE_SUPERSEDED");
    assert_eq!(late.class(), superseded);
}
