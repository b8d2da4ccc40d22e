//! A key that is bound to a node reports for that node only, and gets its relays only.

use std::slice;

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Code, Response, Status};

use crate::{
    contract::dump::dump,
    harness::{Client, Engine, MediaServer, Postgres, Sqlite, TestServer, User, refused},
    relay::fixture::{Worker, broadcasting_report, destination_request},
};

const MISMATCH: (Code, &str) = (Code::PermissionDenied, "NODE_MISMATCH");

/// A server with two nodes, each with a key that is bound to it, and a live stream with one relay
/// at each.
struct Fixture {
    server: TestServer,
    owner: User,
    /// The stream keys of the projects.
    keys: [String; 2],
    streams: [pb::Stream; 2],
    /// The clients of the nodes `n1` and `n2`.
    nodes: [Client; 2],
}

const NODES: [&str; 2] = ["n1", "n2"];

impl Fixture {
    async fn start(engine: Engine) -> Self {
        // So that no job changes anything between two dumps.
        let flags = ["--relay-lease=1h", "--relay-stall-timeout=1h"];
        let server = TestServer::start_with(engine, &flags).await;
        let owner = server.user().await;
        let (mut keys, mut streams, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
        for node_id in NODES {
            let scopes = [Scope::StreamsPublish, Scope::RelaysWork];
            let node = server.operator_of_node(node_id, &scopes).await;
            let (project, key) = owner
                .project_with(pb::CreateProjectRequest {
                    display_name: node_id.to_owned(),
                    publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
                    reconnect_window: Some(prost_types::Duration {
                        seconds: 60,
                        nanos: 0,
                    }),
                    ..Default::default()
                })
                .await;
            let mut projects = owner.client.project.clone();
            let destination = destination_request(&project, node_id);
            projects.create_destination(destination).await.unwrap();
            let begun = begin(&node, node_id, &key, "c1").await.unwrap();
            streams.push(begun.into_inner().stream.unwrap());
            keys.push(key);
            nodes.push(node);
        }
        Self {
            server,
            owner,
            keys: keys.try_into().unwrap(),
            streams: streams.try_into().unwrap(),
            nodes: <[Client; 2]>::try_from(nodes).ok().unwrap(),
        }
    }

    /// The error of a call, which must change nothing.
    async fn assert_mismatch<T: std::fmt::Debug>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) {
        let before = dump(&self.server.database).await;
        let refusal = refused(call.await);
        assert_eq!(refusal.class(), MISMATCH);
        let info = refusal.details.error_info().unwrap();
        assert_eq!(info.metadata["node_id"], "n1");
        assert_eq!(dump(&self.server.database).await, before);
    }
}

fn publisher(node_id: &str, connection: &str) -> pb::Publisher {
    pb::Publisher {
        node_id: node_id.to_owned(),
        ..MediaServer::connection(connection)
    }
}

async fn begin(
    client: &Client,
    node_id: &str,
    key: &str,
    connection: &str,
) -> Result<Response<pb::BeginPublishResponse>, Status> {
    let request = pb::BeginPublishRequest {
        stream_key: key.to_owned(),
        publisher: Some(publisher(node_id, connection)),
        media_flowing: true,
        play_url: String::new(),
    };
    client.stream.clone().begin_publish(request).await
}

async fn heartbeat(
    client: &Client,
    stream: &pb::Stream,
    publisher: pb::Publisher,
) -> Result<Response<pb::HeartbeatPublishResponse>, Status> {
    let request = pb::HeartbeatPublishRequest {
        stream_id: stream.id.clone(),
        epoch: stream.epoch,
        publisher: Some(publisher),
        stats: None,
    };
    client.stream.clone().heartbeat_publish(request).await
}

async fn end(
    client: &Client,
    stream: &pb::Stream,
    publisher: pb::Publisher,
) -> Result<Response<pb::EndPublishResponse>, Status> {
    let request = pb::EndPublishRequest {
        stream_id: stream.id.clone(),
        epoch: stream.epoch,
        publisher: Some(publisher),
    };
    client.stream.clone().end_publish(request).await
}

async fn sync(client: &Client, node_id: &str) -> Result<Response<pb::SyncNodeResponse>, Status> {
    let request = pb::SyncNodeRequest {
        node_id: node_id.to_owned(),
        boot_id: "b1".to_owned(),
        connections: Vec::new(),
    };
    client.stream.clone().sync_node(request).await
}

/// The reasons for which a sync of `n1` disconnects a connection that reports a stream.
async fn kicks(client: &Client, stream: &pb::Stream) -> Vec<pb::EndReason> {
    let request = pb::SyncNodeRequest {
        node_id: "n1".to_owned(),
        boot_id: "b1".to_owned(),
        connections: vec![pb::NodeConnection {
            connection_id: "c9".to_owned(),
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            ..Default::default()
        }],
    };
    let answer = client.stream.clone().sync_node(request).await;
    let kicks = answer.unwrap().into_inner().kicks;
    kicks.iter().map(pb::NodeKick::reason).collect()
}

/// The database without the times at which media servers reported.
async fn dump_without_boots(server: &TestServer) -> Vec<String> {
    let mut rows = dump(&server.database).await;
    rows.retain(|row| !row.starts_with("node_boots: "));
    rows
}

async fn claim(
    client: &Client,
    worker_id: &str,
    node_id: &str,
) -> Result<Response<tonic::Streaming<pb::ClaimRelaysResponse>>, Status> {
    let request = pb::ClaimRelaysRequest {
        worker_id: worker_id.to_owned(),
        node_id: node_id.to_owned(),
        capacity: 10,
        ..Default::default()
    };
    client.stream.clone().claim_relays(request).await
}

/// Claims for the node of the key, after a run with another id.
async fn claim_after(
    client: &Client,
    worker_id: &str,
    previous_worker_id: &str,
) -> Result<Response<tonic::Streaming<pb::ClaimRelaysResponse>>, Status> {
    let request = pb::ClaimRelaysRequest {
        worker_id: worker_id.to_owned(),
        node_id: String::new(),
        capacity: 10,
        previous_worker_id: previous_worker_id.to_owned(),
        ..Default::default()
    };
    client.stream.clone().claim_relays(request).await
}

async fn report(
    client: &Client,
    worker_id: &str,
    assignment: &pb::RelayAssignment,
) -> Result<Response<pb::ReportRelaysResponse>, Status> {
    let request = pb::ReportRelaysRequest {
        worker_id: worker_id.to_owned(),
        reports: vec![broadcasting_report(assignment, 1)],
        ..Default::default()
    };
    client.stream.clone().report_relays(request).await
}

#[rstest]
#[tokio::test]
async fn a_bound_key_reports_for_its_node(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (node, stream) = (&fixture.nodes[0], &fixture.streams[0]);

    let answer = heartbeat(node, stream, publisher("n1", "c1")).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.action(), pb::PublishAction::Continue);
    end(node, stream, publisher("n1", "c1")).await.unwrap();
    sync(node, "n1").await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_bound_key_reports_for_no_other_node_and_touches_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (node, theirs) = (&fixture.nodes[0], &fixture.streams[1]);

    let begun = begin(node, "n2", &fixture.keys[1], "c2");
    fixture.assert_mismatch(begun).await;
    // The connection that holds the stream, as the thief of a key could report it.
    let holder = || publisher("n2", "c1");
    fixture
        .assert_mismatch(heartbeat(node, theirs, holder()))
        .await;
    fixture.assert_mismatch(end(node, theirs, holder())).await;
    fixture.assert_mismatch(sync(node, "n2")).await;
}

#[rstest]
#[tokio::test]
async fn a_stream_that_was_never_at_the_node_of_the_key_is_not_shown_to_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (node, theirs) = (&fixture.nodes[0], &fixture.streams[1]);

    let own = || publisher("n1", "c9");
    fixture
        .assert_mismatch(heartbeat(node, theirs, own()))
        .await;
    fixture.assert_mismatch(end(node, theirs, own())).await;
}

#[rstest]
#[tokio::test]
async fn a_node_whose_stream_moved_to_another_node_is_told_to_stop(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (old, stream) = (&fixture.nodes[0], &fixture.streams[0]);
    end(old, stream, publisher("n1", "c1")).await.unwrap();
    let moved = begin(&fixture.nodes[1], "n2", &fixture.keys[0], "c2").await;
    let moved = moved.unwrap().into_inner().stream.unwrap();
    assert_eq!((&moved.id, moved.epoch), (&stream.id, 2));

    let answer = heartbeat(old, stream, publisher("n1", "c1")).await;

    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.action(), pb::PublishAction::Stop);
    assert_eq!(answer.stop_reason(), pb::EndReason::TakenOver);
    end(old, stream, publisher("n1", "c1")).await.unwrap();
}

/// The same answer as for a stream that does not exist, whatever happened to the stream.
#[rstest]
#[tokio::test]
async fn a_sync_of_the_own_node_learns_nothing_of_a_stream_of_another_and_changes_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (node, theirs) = (&fixture.nodes[0], &fixture.streams[1]);
    // The report lists no connection of its own stream, which so ends.
    end(node, &fixture.streams[0], publisher("n1", "c1"))
        .await
        .unwrap();
    let unknown = pb::Stream {
        id: uuid::Uuid::now_v7().to_string(),
        epoch: 1,
        ..Default::default()
    };
    assert_eq!(kicks(node, &unknown).await, [pb::EndReason::KeyRotated]);

    let before = dump_without_boots(&fixture.server).await;
    assert_eq!(kicks(node, theirs).await, [pb::EndReason::KeyRotated]);
    assert_eq!(dump_without_boots(&fixture.server).await, before);

    let stop = pb::StopStreamRequest {
        stream_id: theirs.id.clone(),
        ..Default::default()
    };
    let mut owner = fixture.owner.client.stream.clone();
    owner.stop_stream(stop).await.unwrap();
    assert_eq!(kicks(node, theirs).await, [pb::EndReason::KeyRotated]);

    // A key that is bound to no node is told.
    let unbound = fixture.server.operator(&[Scope::StreamsPublish]).await;
    let told = kicks(&unbound, theirs).await;
    assert_eq!(told, [pb::EndReason::TakenOver]);
}

#[rstest]
#[tokio::test]
async fn a_worker_with_a_bound_key_gets_the_relays_of_its_node_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;

    let claimed = claim(&fixture.nodes[0], "w4", "n2");
    fixture.assert_mismatch(claimed).await;

    // Without a node in the request, it is that of the key.
    for (worker_id, node_id) in [("w1", ""), ("w2", "n1")] {
        let mut worker = Worker::claim(&fixture.nodes[0], worker_id, node_id, 10).await;
        if worker_id == "w1" {
            let assigned = worker.next_assignments(1).await.remove(0);
            let relay = assigned.relay.as_ref().unwrap();
            assert_eq!(relay.stream_id, fixture.streams[0].id);
            worker
                .expect_accepted(broadcasting_report(&assigned, 1))
                .await;
        }
    }
    // The relay of the other node is still there for its worker.
    let mut other = Worker::claim(&fixture.nodes[1], "w3", "", 10).await;
    let assigned = other.next_assignments(1).await.remove(0);
    let relay = assigned.relay.unwrap();
    assert_eq!(relay.stream_id, fixture.streams[1].id);
}

#[rstest]
#[tokio::test]
async fn a_bound_key_cannot_act_for_a_worker_of_another_node(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut worker = Worker::claim(&fixture.nodes[1], "w2", "n2", 10).await;
    let assigned = worker.next_assignments(1).await.remove(0);
    let everywhere = fixture.server.operator(&[Scope::RelaysWork]).await;
    let mut unbound = Worker::claim(&everywhere, "w3", "", 10).await;
    let of_unbound = unbound.next_assignments(1).await.remove(0);
    drop((worker, unbound));

    let node = &fixture.nodes[0];
    fixture.assert_mismatch(report(node, "w2", &assigned)).await;
    fixture
        .assert_mismatch(report(node, "w3", &of_unbound))
        .await;
    fixture.assert_mismatch(claim(node, "w2", "n1")).await;
    fixture.assert_mismatch(claim(node, "w3", "")).await;
    for previous in ["w2", "w3"] {
        let claimed = claim_after(node, "w9", previous);
        fixture.assert_mismatch(claimed).await;
    }

    // Their own keys can.
    let reported = report(&fixture.nodes[1], "w2", &assigned).await.unwrap();
    assert_eq!(reported.into_inner().lost_lease_ids, [""; 0]);
}

/// The worker has to give the lease back, and its other relays must not suffer.
#[rstest]
#[tokio::test]
async fn a_worker_still_reports_a_relay_whose_stream_moved_to_another_node(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let mut worker = Worker::claim(&fixture.nodes[0], "w1", "", 10).await;
    let assigned = worker.next_assignments(1).await.remove(0);
    worker
        .expect_accepted(broadcasting_report(&assigned, 1))
        .await;
    // The stream continues at another node within its reconnect window.
    let (stream, key) = (&fixture.streams[0], &fixture.keys[0]);
    end(&fixture.nodes[0], stream, publisher("n1", "c1"))
        .await
        .unwrap();
    let moved = begin(&fixture.nodes[1], "n2", key, "c2").await.unwrap();
    assert_eq!(moved.into_inner().stream.unwrap().epoch, 2);

    assert_eq!(
        worker.next_revocations().await,
        slice::from_ref(&assigned.lease_id)
    );
    let returned = pb::RelayReport {
        state: pb::RelayState::Idle.into(),
        ..broadcasting_report(&assigned, 1)
    };
    worker.report(vec![returned]).await;

    let mut next = Worker::claim(&fixture.nodes[1], "w2", "", 10).await;
    let assigned = next.next_assignments(2).await;
    let of_moved = |one: &pb::RelayAssignment| one.relay.as_ref().unwrap().stream_id == stream.id;
    assert!(assigned.iter().any(of_moved));
    let relays = pb::ListRelaysRequest {
        stream_id: stream.id.clone(),
        ..Default::default()
    };
    let mut streams = fixture.owner.client.stream.clone();
    let relays = streams.list_relays(relays).await.unwrap().into_inner();
    assert_eq!(relays.relays[0].worker_id, "w2");
}
