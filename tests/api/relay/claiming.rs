//! ClaimRelays: what workers are given.

use rstest::rstest;
use sluice::{
    auth::{AssociatedData, Keys},
    domain::Scope,
    proto::v1 as pb,
};
use tonic::Code;
use uuid::Uuid;

use super::scene::{STARTED, Scene, Worker, broadcasts, destination_of, state};
use crate::harness::{Engine, Postgres, Sqlite, config, refused};
use pb::RelayState::Starting;

#[rstest]
#[tokio::test]
async fn a_worker_is_given_a_relay_with_all_that_it_needs(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let destination = scene.destination("a").await;
    let live = scene.live("c1").await;
    let before = scene.revision().await;

    let mut worker = scene.worker("w1").await;
    let assigned = worker.assigned(1).await.remove(0);

    let relay = scene.relay(&live).await;
    assert_eq!(assigned.relay, Some(relay.clone()));
    assert_eq!(state(&relay), (STARTED, Starting));
    assert_eq!(relay.destination_id, destination.id);
    assert_eq!(relay.worker_id, "w1");
    assert_eq!(assigned.connection_id, "c1");
    assert_eq!(assigned.input_url, "");
    assert_eq!(assigned.output_url, "rtmp://live.example.com/app/key-of-a");
    let leased = assigned.lease_expire_time.unwrap().seconds - relay.update_time.unwrap().seconds;
    assert_eq!(leased, 15);
    assert_eq!(scene.revision().await, before + 1);
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn a_worker_that_waits_is_given_what_goes_live(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    scene.destination("a").await;
    let mut worker = scene.worker("w1").await;
    let first = worker.next().await.unwrap();
    assert_eq!(first, pb::ClaimRelaysResponse::default(), "a sign of life");

    scene.live("c1").await;

    worker.assigned(1).await;
}

#[rstest]
#[tokio::test]
async fn the_address_of_the_media_is_opened_for_the_worker(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    scene.destination("a").await;
    let keys = Keys::load(&config(&scene.server.database, &[]).keys()).unwrap();
    let id = Uuid::now_v7();
    let sealed = keys
        .sealer
        .seal(&AssociatedData::play_url(id), b"rtmp://10.0.0.5/live/k");
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let (id, sealed) = match engine {
        Sqlite => (
            format!("x'{}'", id.simple()),
            format!("x'{}'", hex(&sealed)),
        ),
        Postgres => (format!("'{id}'"), format!("'\\x{}'", hex(&sealed))),
    };
    let live = scene.node.begin(&scene.key, "c1").await.unwrap();
    let statement = format!("update streams set play_url_id = {id}, play_url_sealed = {sealed}");
    scene.server.database.execute(&statement).await;
    scene
        .node
        .heartbeat(&live.into_inner().stream.unwrap(), "c1")
        .await;

    let assigned = scene.worker("w1").await.assigned(1).await;

    assert_eq!(assigned[0].input_url, "rtmp://10.0.0.5/live/k");
}

#[rstest]
#[tokio::test]
async fn a_relay_whose_key_cannot_be_opened_is_tried_later_and_keeps_nobody(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    scene.destination("a").await;
    let garbage = match engine {
        Sqlite => "x'00'",
        Postgres => "'\\x00'",
    };
    let statement = format!("update destinations set stream_key_sealed = {garbage}");
    scene.server.database.execute(&statement).await;
    let good = scene.destination("b").await;
    let live = scene.live("c1").await;

    let assigned = scene.worker("w1").await.assigned(1).await;

    assert_eq!(assigned[0].relay.as_ref().unwrap().destination_id, good.id);
    let failed = scene.relays(&live).await.remove(0);
    assert_eq!(failed.state(), pb::RelayState::Retrying);
    let error = failed.error.unwrap();
    let retryable = pb::RelayErrorSeverity::Retryable;
    assert_eq!(
        (&*error.code, error.severity()),
        ("KEY_UNREADABLE", retryable)
    );
}

#[rstest]
#[tokio::test]
async fn a_relay_whose_media_cannot_be_found_is_tried_later(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    scene.destination("a").await;
    let begun = scene.node.begin(&scene.key, "c1").await.unwrap();
    let begun = begun.into_inner().stream.unwrap();
    let garbage = match engine {
        Sqlite => format!(
            "play_url_id = x'{}', play_url_sealed = x'00'",
            Uuid::now_v7().simple()
        ),
        Postgres => format!(
            "play_url_id = '{}', play_url_sealed = '\\x00'",
            Uuid::now_v7()
        ),
    };
    let statement = format!("update streams set {garbage}");
    scene.server.database.execute(&statement).await;
    let live = scene.node.heartbeat(&begun, "c1").await.stream.unwrap();
    let _worker = scene.worker("w1").await;

    let failed = scene.eventually(&live, pb::RelayState::Retrying).await;

    assert_eq!(failed.error.unwrap().code, "PLAY_URL_UNREADABLE");
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn a_worker_is_given_no_more_than_it_can_run(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    for name in ["a", "b", "c"] {
        scene.destination(name).await;
    }
    scene.live("c1").await;

    let mut small = scene.worker_with("small", "", 2).await;
    let given = small.assigned(2).await;
    // A second call of the same worker gets nothing more.
    let mut again = scene.worker_with("small", "", 2).await;
    let first = again.next().await.unwrap();
    assert_eq!(first.assignments, []);
    let mut other = scene.worker_with("other", "", 1).await;
    other.assigned(1).await;

    let stopped = pb::RelayReport {
        state: pb::RelayState::Idle.into(),
        ..broadcasts(&given[0], 0)
    };
    drop(small);
    again.takes(stopped).await;
    again.assigned(1).await;
}

#[rstest]
#[tokio::test]
async fn a_worker_at_a_media_server_is_given_its_streams_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    scene.destination("here").await;
    let mut here = scene.worker_with("here", "n1", 10).await;
    let mut there = scene.worker_with("there", "n2", 10).await;

    scene.live("c1").await;
    here.assigned(1).await;
    let (project, key) = scene.owner.project().await;
    let elsewhere = scene
        .destination_with(destination_of(&project, "there"))
        .await;
    let publisher = pb::Publisher {
        node_id: "n2".to_owned(),
        ..crate::harness::MediaServer::connection("c2")
    };
    let request = pb::BeginPublishRequest {
        stream_key: key,
        publisher: Some(publisher),
        media_flowing: true,
        play_url: String::new(),
    };
    let mut node = scene.node.client.stream.clone();
    node.begin_publish(request).await.unwrap();

    let assigned = there.assigned(1).await;
    let relay = assigned[0].relay.as_ref().unwrap();
    assert_eq!(relay.destination_id, elsewhere.id);
}

#[rstest]
#[tokio::test]
async fn a_claim_ends_when_the_server_drains_and_the_leases_stay(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;
    let before = scene.relay(&live).await;

    let (server, ended) = tokio::join!(scene.server.restart(), worker.ended());

    let refusal = refused::<()>(Err(ended));
    assert_eq!(refusal.class(), (Code::Unavailable, "DRAINING"));
    let workers = server.operator(&[Scope::RelaysWork]).await;
    let worker = Worker::claim(&workers, "w1", "", 9).await;
    worker.takes(broadcasts(&assignment, 9)).await;
    let query = "select count(*) from relays where worker_id = 'w1' and attempt = 0";
    assert_eq!(server.database.number(query).await, 1, "{before:?}");
}

#[rstest]
#[tokio::test]
async fn a_claim_ends_with_its_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start_with(engine, &["--access-token-lifetime=2s"], 0).await;
    // That of the scene may have expired already.
    let workers = scene.server.operator(&[Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&workers, "w1", "", 9).await;

    let refusal = refused::<()>(Err(worker.ended().await));

    let invalid = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refusal.class(), invalid);
}
