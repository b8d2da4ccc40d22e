//! Concurrent workers on several servers.

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tokio::{sync::mpsc, task::JoinSet};

use super::fixture::{Fixture, Worker, destination_request};
use crate::harness::{Client, Engine, Pooled, Postgres, Sqlite};

/// Rate limits and lease expiry are not tested here.
const FLAGS: [&str; 3] = [
    "--caller-rate=100000",
    "--caller-burst=100000",
    "--relay-lease=1h",
];

const STREAMS: usize = 20;
const DESTINATIONS: usize = 10;
const RELAYS: usize = STREAMS * DESTINATIONS;
const WORKERS: usize = 8;

/// Creates projects with destinations; returns their stream keys.
async fn projects(fixture: &Fixture) -> Vec<String> {
    let mut keys = Vec::new();
    for _ in 0..STREAMS {
        let (project, key) = fixture.owner.project().await;
        for number in 0..DESTINATIONS {
            let request = destination_request(&project, &number.to_string());
            fixture.create_destination(request).await;
        }
        keys.push(key);
    }
    keys
}

#[rstest]
#[tokio::test]
async fn two_hundred_relays_are_each_assigned_once_to_eight_workers_on_two_servers(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let mut fixture = Fixture::start_with(engine, &FLAGS, 0).await;
    let keys = projects(&fixture).await;
    let here = fixture.workers.clone();
    let channel = fixture.server.replica().await;
    let origin = std::mem::replace(&mut fixture.server.channel, channel);
    let there = fixture.server.operator(&[Scope::RelaysWork]).await;
    fixture.server.channel = origin;

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
        fixture.node.live(key, &format!("c{number}")).await;
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
    assert_eq!(fixture.server.database.number(claims).await, RELAYS as i64);
    let leases = "select count(distinct lease_id) from relays";
    assert_eq!(fixture.server.database.number(leases).await, RELAYS as i64);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn concurrent_claims_of_one_worker_do_not_exceed_its_capacity(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let mut fixture = Fixture::start_with(engine, &FLAGS, 0).await;
    let keys = projects(&fixture).await;
    let here = fixture.workers.clone();
    let channel = fixture.server.replica().await;
    let origin = std::mem::replace(&mut fixture.server.channel, channel);
    let there = fixture.server.operator(&[Scope::RelaysWork]).await;
    fixture.server.channel = origin;
    for (number, key) in keys.iter().enumerate() {
        fixture.node.live(key, &format!("c{number}")).await;
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

    let mut rest = fixture.worker("rest").await;
    rest.next_assignments(RELAYS - 30).await;
    let query = "select count(*) from relays where worker_id = 'w1'";
    assert_eq!(fixture.server.database.number(query).await, 30);
}
