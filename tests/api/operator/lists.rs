//! The lists of nodes, workers and live streams.

use std::time::{Duration, SystemTime};

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};

use super::fixture::Fixture;
use crate::{
    auth::calls::backdate,
    harness::{Client, Engine, MediaServer, Postgres, Sqlite, eventually, exchange},
    relay::fixture::{Worker, destination_request},
};

async fn nodes(fixture: &Fixture, request: pb::ListNodesRequest) -> Vec<pb::Node> {
    let mut operator = fixture.operator.operator.clone();
    let answer = operator.list_nodes(request).await;
    answer.unwrap().into_inner().nodes
}

async fn workers(fixture: &Fixture, node_id: &str) -> Vec<pb::Worker> {
    let request = pb::ListWorkersRequest {
        node_id: node_id.to_owned(),
        ..Default::default()
    };
    let answer = fixture
        .operator
        .operator
        .clone()
        .list_workers(request)
        .await;
    answer.unwrap().into_inner().workers
}

/// SyncNode of a media server without publishers.
async fn sync(media: &Client, node_id: &str, boot_id: &str) {
    let request = pb::SyncNodeRequest {
        node_id: node_id.to_owned(),
        boot_id: boot_id.to_owned(),
        connections: Vec::new(),
    };
    media.stream.clone().sync_node(request).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_node_is_listed_with_its_newest_boot_and_its_live_streams(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let media = fixture.server.media_server().await;
    let (_, key) = ada.project().await;
    sync(&media.client, "n2", "b1").await;
    sync(&media.client, "n2", "b2").await;
    media.live(&key, "c1").await;

    let listed = nodes(&fixture, pb::ListNodesRequest::default()).await;

    let shown: Vec<_> = listed
        .iter()
        .map(|node| (&*node.node_id, &*node.boot_id, node.live_stream_count))
        .collect();
    assert_eq!(shown, [("n1", "b1", 1), ("n2", "b2", 0)]);
    for node in &listed {
        assert!(node.boot_time.is_some() && node.create_time.is_some());
        assert!(node.last_report_time.is_some());
    }
}

#[rstest]
#[tokio::test]
async fn nodes_that_have_not_reported_for_long_can_be_left_out(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let media = fixture.server.media_server().await;
    let (_, key) = ada.project().await;
    sync(&media.client, "silent", "b1").await;
    media.live(&key, "c1").await;
    backdate(
        &fixture.server.database,
        "nodes",
        "last_report_time",
        "2 hours",
    )
    .await;

    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let request = pb::ListNodesRequest {
        reported_after: Some(hour_ago.into()),
        ..Default::default()
    };
    let listed = nodes(&fixture, request).await;

    // The heartbeats of its stream are reports, too.
    let ids: Vec<_> = listed.iter().map(|node| &*node.node_id).collect();
    assert_eq!(ids, ["n1"]);
    let all = nodes(&fixture, pb::ListNodesRequest::default()).await;
    assert_eq!(all.len(), 2);
}

#[rstest]
#[tokio::test]
async fn a_report_of_a_known_boot_is_written_again_after_a_while(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let media = fixture.server.media_server().await.client;
    sync(&media, "n1", "b1").await;
    let recent = "select count(*) from nodes where last_report_time > create_time";
    sync(&media, "n1", "b1").await;
    assert_eq!(fixture.server.database.number(recent).await, 0);

    for column in ["create_time", "last_report_time"] {
        backdate(&fixture.server.database, "nodes", column, "1 minute").await;
    }
    sync(&media, "n1", "b1").await;

    assert_eq!(fixture.server.database.number(recent).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_worker_is_listed_with_its_node_its_key_and_the_relays_that_it_holds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let ada = server.user().await;
    let media = server.media_server().await;
    let (key_id, secret) = server.operator_key(&[Scope::RelaysWork], None, None).await;
    let token = exchange(&server.channel, &secret).await;
    let client = Client::with_token(&server.channel, &token);
    let (project, key) = ada.project().await;
    let mut projects = ada.client.project.clone();
    let destination = destination_request(&project, "main");
    projects.create_destination(destination).await.unwrap();
    media.live(&key, "c1").await;

    let mut idle = Worker::claim(&client, "idle", "n2", 7).await;
    idle.next().await.unwrap();
    let mut busy = Worker::claim(&client, "busy", "", 10).await;
    busy.next_assignments(1).await;

    let listed = workers(&fixture, "").await;
    let shown: Vec<_> = listed
        .iter()
        .map(|one| {
            (
                &*one.worker_id,
                &*one.node_id,
                one.capacity,
                one.relay_count,
            )
        })
        .collect();
    assert_eq!(shown, [("busy", "", 10, 1), ("idle", "n2", 7, 0)]);
    for worker in &listed {
        assert_eq!(worker.operator_key_id, key_id);
        assert!(worker.create_time.is_some() && worker.last_claim_time.is_some());
    }
    let of_node = workers(&fixture, "n2").await;
    assert_eq!(of_node, listed[1..]);
}

#[rstest]
#[tokio::test]
async fn a_worker_that_has_not_claimed_for_an_hour_and_holds_no_relay_is_not_listed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let client = fixture.server.operator(&[Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&client, "w1", "", 7).await;
    worker.next().await.unwrap();
    drop(worker);
    assert_eq!(workers(&fixture, "").await.len(), 1);

    backdate(
        &fixture.server.database,
        "workers",
        "last_claim_time",
        "2 hours",
    )
    .await;

    assert_eq!(workers(&fixture, "").await, []);
}

#[rstest]
#[tokio::test]
async fn nodes_and_workers_that_have_been_silent_for_a_week_are_purged(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let Fixture { server, .. } = Fixture::start(engine).await;
    let ada = server.user().await;
    let media = server.media_server().await;
    let (_, key) = ada.project().await;
    sync(&media.client, "silent", "b1").await;
    media.live(&key, "c1").await;
    let client = server.operator(&[Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&client, "w1", "", 7).await;
    worker.next().await.unwrap();
    drop(worker);
    backdate(&server.database, "nodes", "last_report_time", "8 days").await;
    backdate(&server.database, "workers", "last_claim_time", "8 days").await;

    let server = server.restart().await;

    // The node with a live stream stays.
    let rows = "select (select count(*) from nodes) + 10 * (select count(*) from workers)";
    eventually("they are purged", async || {
        (server.database.number(rows).await == 1).then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn live_streams_of_all_users_are_listed_with_their_owners(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let server = &fixture.server;
    let (ada, grace) = (server.user().await, server.user().await);
    let media = server.media_server().await;
    let (_, of_ada) = ada.project().await;
    let (_, ended) = ada.project().await;
    let (_, of_grace) = grace.project().await;
    let first = media.live(&of_ada, "c1").await;
    let over = media.live(&ended, "c2").await;
    media.end(&over, "c2").await;
    let request = pb::BeginPublishRequest {
        stream_key: of_grace,
        publisher: Some(pb::Publisher {
            node_id: "n2".to_owned(),
            ..MediaServer::connection("c3")
        }),
        media_flowing: true,
        play_url: String::new(),
    };
    let mut publishers = media.client.stream.clone();
    let second = publishers.begin_publish(request).await.unwrap();
    let second = second.into_inner().stream.unwrap();

    let all = fixture
        .live_streams(pb::ListLiveStreamsRequest::default())
        .await;

    let shown: Vec<_> = all
        .iter()
        .map(|live| {
            let id = &live.stream.as_ref().unwrap().id;
            (id, &live.user_id, &*live.project_display_name)
        })
        .collect();
    let expected = [
        (&second.id, &grace.user.id, "Show"),
        (&first.id, &ada.user.id, "Show"),
    ];
    assert_eq!(shown, expected);
    for (user_id, node_id, expected) in [
        (&*ada.user.id, "", &all[1..]),
        ("", "n2", &all[..1]),
        (&*ada.user.id, "n2", &[]),
    ] {
        let request = pb::ListLiveStreamsRequest {
            user_id: user_id.to_owned(),
            node_id: node_id.to_owned(),
            ..Default::default()
        };
        assert_eq!(fixture.live_streams(request).await, expected);
    }
}
