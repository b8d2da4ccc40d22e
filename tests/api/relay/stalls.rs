//! A relay broadcasts only while its bytes grow.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{Scene, broadcasts, destination_of, runs};
use crate::harness::{Engine, Postgres, Sqlite, eventually};
use pb::RelayState::{Broadcasting, Stalled, Starting};

const IMPATIENT: [&str; 1] = ["--relay-stall-timeout=300ms"];

/// The lease of every relay lasts, so that only their silence is judged.
const FOREVER: &str = "update relays set lease_expire_time = '2999-01-01T00:00:00+00:00'";

#[rstest]
#[tokio::test]
async fn reports_without_growth_make_a_relay_stall_whatever_they_say(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(Broadcasting, Starting)] says: pb::RelayState,
) {
    let scene = Scene::start_with(engine, &IMPATIENT, 0).await;
    let (live, _, worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;

    let stalled = eventually("the relay stalls", async || {
        worker.takes(runs(&assignment, says, 5)).await;
        let relay = scene.relay(&live).await;
        (relay.state() == Stalled).then_some(relay)
    })
    .await;
    assert_eq!((stalled.bytes_sent, &*stalled.worker_id), (5, "w1"));

    worker.takes(broadcasts(&assignment, 6)).await;
    assert_eq!(scene.relay(&live).await.state(), Broadcasting);
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn a_relay_of_which_nothing_is_heard_stalls_but_not_while_its_stream_reconnects(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--relay-stall-timeout=300ms", "--relay-lease=3s"];
    let scene = Scene::start_with(engine, &flags, 60).await;
    scene.destination("held").await;
    let live = scene.live("c1").await;
    let mut worker = scene.worker("w1").await;
    let held = worker.assigned(1).await.remove(0);
    worker.takes(broadcasts(&held, 5)).await;
    scene.server.database.execute(FOREVER).await;
    scene.node.end(&live, "c1").await;
    let before = scene.relay(&live).await;

    let (project, key) = scene.owner.project().await;
    scene.destination_with(destination_of(&project, "b")).await;
    let other = scene.node.live(&key, "c2").await;
    let assignment = worker.assigned(1).await.remove(0);
    worker.takes(broadcasts(&assignment, 5)).await;
    scene.server.database.execute(FOREVER).await;

    scene.eventually(&other, Stalled).await;
    worker.takes(broadcasts(&held, 5)).await;
    worker.takes(runs(&held, Stalled, 5)).await;

    let after = scene.relay(&live).await;
    assert_eq!(after.state(), before.state());
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn the_time_of_reconnecting_is_no_stall(#[values(Sqlite, Postgres)] engine: Engine) {
    let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];
    let scene = Scene::start_with(engine, &flags, 60).await;
    let (live, _, worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;
    eventually("the stream reconnects", async || {
        let stream = scene.owner.stream(&live.id).await;
        (stream.status() == pb::StreamStatus::Reconnecting).then_some(())
    })
    .await;
    scene.long_ago("silent_since").await;
    scene.server.database.execute(FOREVER).await;

    let again = scene.node.heartbeat(&live, "c1").await.stream.unwrap();
    assert_eq!(again.status(), pb::StreamStatus::Live);
    worker.takes(broadcasts(&assignment, 5)).await;

    assert_eq!(scene.relay(&live).await.state(), Broadcasting);
}
