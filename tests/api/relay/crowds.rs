//! Many workers on several servers at once.

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tokio::{sync::mpsc, task::JoinSet};

use super::scene::{Scene, Worker, destination_of};
use crate::harness::{Client, Engine, Postgres, Sqlite};

/// None of these tests is about too many calls, or about time.
const FLAGS: [&str; 3] = [
    "--caller-rate=100000",
    "--caller-burst=100000",
    "--relay-lease=1h",
];

const STREAMS: usize = 20;
const DESTINATIONS: usize = 10;
const RELAYS: usize = STREAMS * DESTINATIONS;
const WORKERS: usize = 8;

/// Projects with destinations; their stream keys.
async fn projects(scene: &Scene) -> Vec<String> {
    let mut keys = Vec::new();
    for _ in 0..STREAMS {
        let (project, key) = scene.owner.project().await;
        for number in 0..DESTINATIONS {
            let request = destination_of(&project, &number.to_string());
            scene.destination_with(request).await;
        }
        keys.push(key);
    }
    keys
}

#[rstest]
#[tokio::test]
async fn two_hundred_relays_go_to_eight_workers_on_two_servers_each_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mut scene = Scene::start_with(engine, &FLAGS, 0).await;
    let keys = projects(&scene).await;
    let here = scene.workers.clone();
    let channel = scene.server.replica().await;
    let origin = std::mem::replace(&mut scene.server.channel, channel);
    let there = scene.server.operator(&[Scope::RelaysWork]).await;
    scene.server.channel = origin;

    let (sender, mut assigned) = mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let client: &Client = if number % 2 == 0 { &here } else { &there };
        let mut worker = Worker::claim(client, &format!("w{number}"), "", 40).await;
        let sender = sender.clone();
        workers.spawn(async move {
            while let Ok(message) = worker.next().await {
                for assignment in message.assignments {
                    sender.send((worker.id.clone(), assignment)).unwrap();
                }
            }
        });
    }
    for (number, key) in keys.iter().enumerate() {
        scene.node.live(key, &format!("c{number}")).await;
    }

    let mut given = BTreeSet::new();
    let mut loads: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..RELAYS {
        let (worker, assignment): (String, pb::RelayAssignment) = assigned.recv().await.unwrap();
        let relay = assignment.relay.unwrap();
        assert_eq!(relay.worker_id, worker);
        assert!(given.insert((relay.stream_id, relay.destination_id)));
        *loads.entry(worker).or_default() += 1;
    }
    assert!(loads.values().all(|load| *load <= 40), "{loads:?}");
    let claims = "select count(*) from events where change like '%\"starting\"%'";
    assert_eq!(scene.server.database.number(claims).await, RELAYS as i64);
    let leases = "select count(distinct lease_id) from relays";
    assert_eq!(scene.server.database.number(leases).await, RELAYS as i64);
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn two_calls_of_one_worker_at_once_take_no_more_than_it_can_run(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mut scene = Scene::start_with(engine, &FLAGS, 0).await;
    let keys = projects(&scene).await;
    let here = scene.workers.clone();
    let channel = scene.server.replica().await;
    let origin = std::mem::replace(&mut scene.server.channel, channel);
    let there = scene.server.operator(&[Scope::RelaysWork]).await;
    scene.server.channel = origin;
    for (number, key) in keys.iter().enumerate() {
        scene.node.live(key, &format!("c{number}")).await;
    }

    let mut calls = JoinSet::new();
    for client in [&here, &there, &here, &there] {
        let client = client.clone();
        calls.spawn(async move { Worker::claim(&client, "w1", "", 30).await });
    }
    let calls = calls.join_all().await;
    let (sender, mut assigned) = mpsc::unbounded_channel();
    let mut listening = JoinSet::new();
    for mut worker in calls {
        let sender = sender.clone();
        listening.spawn(async move {
            while let Ok(message) = worker.next().await {
                sender.send(message.assignments.len()).unwrap();
            }
        });
    }
    let mut taken = 0;
    while taken < 30 {
        taken += assigned.recv().await.unwrap();
    }

    let mut rest = scene.worker("rest").await;
    rest.assigned(RELAYS - 30).await;
    let query = "select count(*) from relays where worker_id = 'w1'";
    assert_eq!(scene.server.database.number(query).await, 30);
}
