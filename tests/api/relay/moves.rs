//! Relays that move away from the workers of a node that drains.

use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};

use super::fixture::{Fixture, Worker, broadcasting_report, destination_request, state_report};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, eventually};
use pb::RelayState::{Broadcasting, Idle, Starting, Stopping};

/// The node of the streams.
const NODE: &str = "n1";

/// Begins a stream whose media can be read from elsewhere.
async fn live(fixture: &Fixture, key: &str, connection: &str) -> pb::Stream {
    let request = pb::BeginPublishRequest {
        stream_key: key.to_owned(),
        publisher: Some(MediaServer::connection(connection)),
        media_flowing: true,
        play_url: "rtmp://10.0.0.5/live/k".to_owned(),
    };
    let mut node = fixture.node.client.stream.clone();
    let begun = node.begin_publish(request).await.unwrap().into_inner();
    begun.stream.unwrap()
}

async fn destination(fixture: &Fixture, name: &str, allows: bool) -> pb::Destination {
    let request = pb::CreateDestinationRequest {
        allows_second_connection: allows,
        ..destination_request(&fixture.project, name)
    };
    fixture.create_destination(request).await
}

async fn drain(fixture: &Fixture) {
    let operator = fixture.server.operator(&[Scope::OperatorWrite]).await;
    let node_id = NODE.to_owned();
    let request = pb::DrainNodeRequest { node_id };
    operator.operator.clone().drain_node(request).await.unwrap();
}

/// A worker of the node that sends relays, for so long that they can move.
async fn sending(fixture: &Fixture, count: usize) -> (Worker, Vec<pb::RelayAssignment>) {
    let mut worker = fixture.worker_with("old", NODE, 1000).await;
    let assigned = worker.next_assignments(count).await;
    report(&worker, &assigned, 5).await;
    fixture.backdate("claim_time").await;
    (worker, assigned)
}

async fn report(worker: &Worker, assigned: &[pb::RelayAssignment], bytes_sent: i64) {
    let reports = assigned
        .iter()
        .map(|one| broadcasting_report(one, bytes_sent));
    let answer = worker.report(reports.collect()).await;
    assert_eq!(answer.lost_lease_ids, [""; 0]);
}

#[rstest]
#[tokio::test]
async fn where_the_destination_permits_it_the_next_worker_starts_before_the_first_one_stops(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let to = destination(&fixture, "a", true).await;
    let stream = live(&fixture, &fixture.key, "c1").await;
    let (mut old, first) = sending(&fixture, 1).await;
    let mut new = fixture.worker_with("new", "", 10).await;

    drain(&fixture).await;

    let second = new.next_assignments(1).await.remove(0);
    let relay = second.relay.clone().unwrap();
    assert_eq!((&relay.destination_id, relay.state()), (&to.id, Starting));
    assert_eq!(second.input_url, "rtmp://10.0.0.5/live/k");
    assert_ne!(second.lease_id, first[0].lease_id);
    report(&old, &first, 20).await;
    new.expect_accepted(state_report(&second, Starting, 0))
        .await;
    report(&old, &first, 30).await;

    new.expect_accepted(broadcasting_report(&second, 1)).await;

    assert_eq!(old.next_revocations().await, [first[0].lease_id.clone()]);
    old.expect_lost(broadcasting_report(&first[0], 40)).await;
    let relay = fixture.relay(&stream).await;
    assert_eq!((&*relay.worker_id, relay.state()), ("new", Broadcasting));
    // What the first worker sent meanwhile does not count.
    assert_eq!(relay.bytes_sent, 1);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn elsewhere_the_next_worker_starts_immediately_after_the_first_one_has_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    destination(&fixture, "a", false).await;
    let stream = live(&fixture, &fixture.key, "c1").await;
    let (mut old, first) = sending(&fixture, 1).await;
    let mut new = fixture.worker_with("new", "", 10).await;

    drain(&fixture).await;

    assert_eq!(old.next_revocations().await, [first[0].lease_id.clone()]);
    let relay = fixture.relay(&stream).await;
    assert_eq!((&*relay.worker_id, relay.state()), ("old", Stopping));
    old.expect_accepted(state_report(&first[0], Idle, 20)).await;
    let second = new.next_assignments(1).await.remove(0);
    assert_eq!(second.relay.unwrap().worker_id, "new");
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn only_as_many_relays_move_as_other_workers_have_room_for(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    for name in ["a", "b"] {
        destination(&fixture, name, true).await;
    }
    let stream = live(&fixture, &fixture.key, "c1").await;
    let (old, first) = sending(&fixture, 2).await;
    let mut new = fixture.worker_with("new", "", 1).await;
    // Neither full workers nor those of another node can take them.
    let _other = fixture.worker_with("other", "n2", 10).await;

    drain(&fixture).await;

    let second = new.next_assignments(1).await.remove(0);
    new.expect_accepted(broadcasting_report(&second, 1)).await;
    let lost = eventually("the first worker has lost one", async || {
        let reports = first.iter().map(|one| broadcasting_report(one, 50));
        let lost = old.report(reports.collect()).await.lost_lease_ids;
        (!lost.is_empty()).then_some(lost)
    })
    .await;
    assert_eq!(lost.len(), 1);
    let relays = fixture.relays(&stream).await;
    let mut workers: Vec<_> = relays.iter().map(|relay| &*relay.worker_id).collect();
    workers.sort_unstable();
    assert_eq!(workers, ["new", "old"]);
    assert!(relays.iter().all(|relay| relay.state() == Broadcasting));
}

#[rstest]
#[tokio::test]
async fn the_relays_of_a_stream_that_cannot_be_read_elsewhere_stay(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    destination(&fixture, "a", true).await;
    let (other, key) = fixture.owner.project().await;
    let request = pb::CreateDestinationRequest {
        allows_second_connection: true,
        ..destination_request(&other, "b")
    };
    fixture.create_destination(request).await;
    let bound = fixture.live("c1").await;
    live(&fixture, &key, "c2").await;
    let (_old, _) = sending(&fixture, 2).await;
    let mut new = fixture.worker_with("new", "", 10).await;

    drain(&fixture).await;

    let second = new.next_assignments(1).await.remove(0);
    assert_ne!(second.relay.unwrap().stream_id, bound.id);
    let stays = fixture.relay(&bound).await;
    assert_eq!((&*stays.worker_id, stays.state()), ("old", Broadcasting));
}

#[rstest]
#[tokio::test]
async fn while_a_node_drains_its_workers_claim_only_what_others_leave(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let to = destination(&fixture, "a", true).await;
    let mut own = fixture.worker_with("own", NODE, 1000).await;
    // The node has to be known.
    let before = live(&fixture, &fixture.key, "c0").await;
    own.next_assignments(1).await;
    fixture.stop_stream(&before).await;
    let lease = own.next_revocations().await.remove(0);
    let returned = pb::RelayReport {
        lease_id: lease,
        state: Idle.into(),
        ..Default::default()
    };
    own.expect_accepted(returned).await;
    drain(&fixture).await;

    let begun = Instant::now();
    let stream = live(&fixture, &fixture.key, "c1").await;
    let assigned = own.next_assignments(1).await.remove(0);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    assert_eq!(assigned.relay.unwrap().stream_id, stream.id);

    let _others = fixture.worker_with("others", "", 10).await;
    let second = fixture.destination("b").await;
    fixture.start_relay(&stream, &second).await;
    eventually("a worker of any node has it", async || {
        let relays = fixture.relays(&stream).await;
        let relay = relays.iter().find(|one| one.destination_id != to.id)?;
        (relay.worker_id == "others").then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn a_relay_that_is_stopped_while_it_moves_stops_at_both_workers(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let to = destination(&fixture, "a", true).await;
    let stream = live(&fixture, &fixture.key, "c1").await;
    let (mut old, first) = sending(&fixture, 1).await;
    let mut new = fixture.worker_with("new", "", 10).await;
    drain(&fixture).await;
    let second = new.next_assignments(1).await.remove(0);
    report(&old, &first, 20).await;

    fixture.stop_relay(&stream, &to).await;

    assert_eq!(old.next_revocations().await, [first[0].lease_id.clone()]);
    assert_eq!(
        new.next_revocations().await,
        std::slice::from_ref(&second.lease_id)
    );
    old.expect_lost(broadcasting_report(&first[0], 30)).await;
    new.expect_accepted(state_report(&second, Idle, 0)).await;
    assert_eq!(fixture.relay(&stream).await.state(), Idle);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_worker_that_ends_a_relay_early_gives_its_lease_back(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    destination(&fixture, "a", true).await;
    let stream = live(&fixture, &fixture.key, "c1").await;
    let (old, first) = sending(&fixture, 1).await;
    let mut new = fixture.worker_with("new", "", 10).await;
    drain(&fixture).await;
    let second = new.next_assignments(1).await.remove(0);

    old.expect_accepted(state_report(&first[0], Idle, 20)).await;

    old.expect_lost(broadcasting_report(&first[0], 30)).await;
    new.expect_accepted(broadcasting_report(&second, 1)).await;
    let relay = fixture.relay(&stream).await;
    assert_eq!((&*relay.worker_id, relay.state()), ("new", Broadcasting));
    fixture.assert_no_missing_events().await;
}
