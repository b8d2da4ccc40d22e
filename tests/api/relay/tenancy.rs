//! Whose relays are whose.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::scene::{Scene, destination_of};
use crate::harness::{Client, Engine, Postgres, Refusal, Sqlite, refused};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

/// How the RPCs of owners refuse a caller.
async fn owner_refusals(client: &Client, stream: &str, destination: &str) -> [Refusal; 3] {
    let mut streams = client.stream.clone();
    let (stream_id, destination_id) = (stream.to_owned(), destination.to_owned());
    let list = pb::ListRelaysRequest {
        stream_id: stream_id.clone(),
    };
    let start = pb::StartRelayRequest {
        stream_id: stream_id.clone(),
        destination_id: destination_id.clone(),
    };
    let stop = pb::StopRelayRequest {
        stream_id,
        destination_id,
    };
    [
        refused(streams.list_relays(list).await),
        refused(streams.start_relay(start).await),
        refused(streams.stop_relay(stop).await),
    ]
}

#[rstest]
#[tokio::test]
async fn a_strangers_relay_is_an_unknown_relay(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let destination = scene.destination("a").await;
    let live = scene.live("c1").await;
    let before = (scene.relay(&live).await, scene.revision().await);
    let stranger = scene.server.user().await;

    for refusal in owner_refusals(&stranger.client, &live.id, &destination.id).await {
        assert_eq!(refusal.class(), NOT_FOUND);
        let resource = refusal.details.resource_info().unwrap();
        assert_eq!(resource.resource_type, "stream");
    }

    assert_eq!((scene.relay(&live).await, scene.revision().await), before);
}

#[rstest]
#[tokio::test]
async fn a_stream_is_sent_only_to_destinations_of_its_own_project(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] strangers: bool,
) {
    let scene = Scene::start(engine).await;
    let live = scene.live("c1").await;
    let elsewhere = match strangers {
        false => {
            let (project, _) = scene.owner.project().await;
            scene.destination_with(destination_of(&project, "b")).await
        }
        true => {
            let stranger = scene.server.user().await;
            let (project, _) = stranger.project().await;
            let mut projects = stranger.client.project.clone();
            let request = destination_of(&project, "b");
            let answer = projects.create_destination(request).await.unwrap();
            answer.into_inner().destination.unwrap()
        }
    };

    let start = refused(scene.start_relay(&live, &elsewhere).await);
    let stop = refused(scene.stop_relay(&live, &elsewhere).await);

    for refusal in [start, stop] {
        assert_eq!(refusal.class(), NOT_FOUND);
        let resource = refusal.details.resource_info().unwrap();
        assert_eq!(resource.resource_type, "destination");
    }
    assert_eq!(scene.relays(&live).await, []);
}

#[rstest]
#[tokio::test]
async fn a_user_is_no_worker_and_a_worker_no_owner(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let destination = scene.destination("a").await;
    let live = scene.live("c1").await;
    let missing = (Code::PermissionDenied, "SCOPE_MISSING");

    for client in [&scene.owner.client, &scene.node.client] {
        let mut streams = client.stream.clone();
        let claim = pb::ClaimRelaysRequest {
            worker_id: "w1".to_owned(),
            node_id: String::new(),
            capacity: 1,
        };
        let claim = streams.claim_relays(claim).await.map(|_| ().into());
        let report = streams
            .report_relays(pb::ReportRelaysRequest::default())
            .await;
        assert_eq!(refused(claim).class(), missing);
        assert_eq!(refused(report).class(), missing);
    }
    for refusal in owner_refusals(&scene.workers, &live.id, &destination.id).await {
        assert_eq!(refusal.class(), missing);
    }
}

#[rstest]
#[tokio::test]
async fn a_worker_serves_every_tenant(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    scene.destination("a").await;
    scene.live("c1").await;
    let other = Scene::over(scene.server, 0).await;
    other.destination("b").await;
    other.live("c2").await;

    other.worker("w1").await.assigned(2).await;
}
