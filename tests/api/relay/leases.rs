//! Leases run out.

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};

use super::scene::{STARTED, STOPPED, Scene, Worker, breaks, broadcasts, destination_of, state};
use crate::harness::{Engine, Postgres, Sqlite, eventually};
use pb::RelayState::{Broadcasting, Idle, Starting};

const SHORT: [&str; 1] = ["--relay-lease=2s"];

#[rstest]
#[tokio::test]
async fn when_a_worker_dies_another_takes_over_with_the_count_of_failures(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start_with(engine, &SHORT, 0).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;
    worker.takes(breaks(&assignment)).await;
    let again = worker.assigned(1).await.remove(0);
    worker.takes(broadcasts(&again, 5)).await;
    let (id, last) = (worker.id.clone(), again.clone());
    drop(worker);

    let mut other = scene.worker("w2").await;
    let over = other.assigned(1).await.remove(0);

    let relay = over.relay.as_ref().unwrap();
    assert_eq!((relay.state(), relay.attempt), (Starting, 1));
    assert_eq!(relay.worker_id, "w2");
    assert_ne!(over.lease_id, last.lease_id);
    let dead = Worker::claim(&scene.workers, &id, "n9", 1).await;
    dead.loses(broadcasts(&last, 99)).await;
    other.takes(broadcasts(&over, 1)).await;
    assert_eq!(scene.relay(&live).await.bytes_sent, 1);
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn reports_keep_a_lease_while_a_silent_one_runs_out(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start_with(engine, &["--relay-lease=2s"], 0).await;
    scene.destination("a").await;
    let live = scene.live("c1").await;
    let mut heard = scene.worker("heard").await;
    let assignment = heard.assigned(1).await.remove(0);
    let (project, key) = scene.owner.project().await;
    scene.destination_with(destination_of(&project, "b")).await;
    let other = scene.node.live(&key, "c2").await;
    let silent = heard.assigned(1).await.remove(0);
    // Nobody is there to take it again.
    let mut bytes = 0;
    let reporter = Worker::claim(&scene.workers, "heard", "n9", 1).await;
    drop(heard);

    eventually("the silent lease runs out", async || {
        bytes += 1;
        reporter.takes(broadcasts(&assignment, bytes)).await;
        let relay = scene.relay(&other).await;
        (relay.state() == Idle).then_some(())
    })
    .await;

    assert_eq!(scene.relay(&live).await.state(), Broadcasting);
    reporter.loses(broadcasts(&silent, 1)).await;
}

#[rstest]
#[tokio::test]
async fn a_stopped_relay_whose_worker_died_has_stopped(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start_with(engine, &SHORT, 0).await;
    let (live, destination, worker, _) = scene.claimed().await;
    drop(worker);
    scene.stopped(&live, &destination).await;

    let idle = scene.eventually(&live, Idle).await;

    assert_eq!(state(&idle), (STOPPED, Idle));
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn a_restart_takes_no_lease_away(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (_, _, worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;
    drop(worker);
    // As if the server had been away for long: it must listen before it judges.
    scene.long_ago("lease_expire_time").await;
    scene.long_ago("silent_since").await;

    let server = scene.server.restart().await;

    let workers = server.operator(&[Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&workers, "w1", "", 9).await;
    assert_eq!(worker.next().await.unwrap().assignments, []);
    worker.takes(broadcasts(&assignment, 6)).await;
    let query = "select count(*) from relays where state = 'broadcasting'";
    assert_eq!(server.database.number(query).await, 1);
}

#[rstest]
#[tokio::test]
async fn two_servers_take_a_lease_away_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start_with(engine, &SHORT, 0).await;
    scene.server.replica().await;
    for number in 0..10 {
        scene.destination(&number.to_string()).await;
    }
    let live = scene.live("c1").await;
    let mut worker = scene.worker("w1").await;
    worker.assigned(10).await;
    drop(worker);
    let before = scene.revision().await;

    let relays = eventually("all leases run out", async || {
        let relays = scene.relays(&live).await;
        let idle = relays.iter().all(|relay| state(relay) == (STARTED, Idle));
        idle.then_some(relays)
    })
    .await;

    assert_eq!(relays.len(), 10);
    assert_eq!(scene.revision().await, before + 10);
    scene.assert_events().await;
}
