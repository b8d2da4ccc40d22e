//! The outage policy HOLD: leases and destinations survive the absence of a publisher.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{
    Fixture, STARTED, STOPPED, Worker, broadcasting_report, retryable_failure, state, state_report,
};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, TestServer, eventually};
use pb::RelayState::{Broadcasting, Holding, Idle, Stalled, Starting, Stopping};

const HOLD: pb::OutagePolicy = pb::OutagePolicy::Hold;

fn policy(assignment: &pb::RelayAssignment) -> pb::OutagePolicy {
    assignment.outage_policy()
}

/// With a project that holds.
async fn holding_fixture(engine: Engine, flags: &[&str]) -> Fixture {
    let fixture = Fixture::start_with(engine, flags, 60).await;
    set_policy(&fixture, HOLD).await;
    fixture
}

async fn set_policy(fixture: &Fixture, policy: pb::OutagePolicy) {
    let request = pb::UpdateProjectRequest {
        project_id: fixture.project.id.clone(),
        outage_policy: Some(policy.into()),
        ..Default::default()
    };
    let mut projects = fixture.owner.client.project.clone();
    projects.update_project(request).await.unwrap();
}

/// Begins to publish with media that can be read at a URL.
async fn begin(fixture: &Fixture, publisher: pb::Publisher, play_url: &str) -> pb::Stream {
    let request = pb::BeginPublishRequest {
        stream_key: fixture.key.clone(),
        publisher: Some(publisher),
        media_flowing: true,
        play_url: play_url.to_owned(),
    };
    let mut streams = fixture.node.client.stream.clone();
    let answer = streams.begin_publish(request).await.unwrap();
    answer.into_inner().stream.unwrap()
}

/// A stream whose only relay broadcasts.
async fn broadcasting(fixture: &Fixture) -> (pb::Stream, Worker, pb::RelayAssignment) {
    fixture.destination("a").await;
    let first = MediaServer::connection("c1");
    let live = begin(fixture, first, "rtmp://127.0.0.1/live/one").await;
    let mut worker = fixture.worker("w1").await;
    let assignment = worker.next_assignments(1).await.remove(0);
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    (live, worker, assignment)
}

#[rstest]
#[tokio::test]
async fn an_assignment_has_the_outage_policy_of_its_project(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(pb::OutagePolicy::End, HOLD)] wanted: pb::OutagePolicy,
) {
    let fixture = Fixture::with_window(engine).await;
    set_policy(&fixture, wanted).await;
    let (_, _, assignment) = broadcasting(&fixture).await;
    assert_eq!(policy(&assignment), wanted);
}

#[rstest]
#[tokio::test]
async fn a_relay_keeps_its_lease_when_the_publisher_returns_and_its_worker_gets_the_new_input(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = holding_fixture(engine, &[]).await;
    let (live, mut worker, assignment) = broadcasting(&fixture).await;

    fixture.node.end(&live, "c1").await;
    worker
        .expect_accepted(state_report(&assignment, Holding, 9))
        .await;
    let held = fixture.relay(&live).await;
    assert_eq!(state(&held), (STARTED, Holding));
    assert_eq!((held.bytes_sent, held.bitrate_bps), (9, 72));

    let second = MediaServer::connection("c2");
    let back = begin(&fixture, second, "rtmp://127.0.0.1/live/two").await;
    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    assert_eq!(state(&fixture.relay(&live).await), (STARTED, Holding));
    let moved = worker.next_assignments(1).await.remove(0);
    assert_eq!(moved.lease_id, assignment.lease_id);
    assert_eq!(moved.connection_id, "c2");
    assert_eq!(moved.input_url, "rtmp://127.0.0.1/live/two");
    assert_eq!(moved.output_stream_key, assignment.output_stream_key);
    assert_eq!(policy(&moved), HOLD);

    worker
        .expect_accepted(broadcasting_report(&assignment, 12))
        .await;
    assert_eq!(state(&fixture.relay(&live).await), (STARTED, Broadcasting));
    fixture.assert_not_assigned(&mut worker, &live).await;
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_restart_of_the_media_server_takes_no_lease_away(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = holding_fixture(engine, &[]).await;
    let (live, mut worker, assignment) = broadcasting(&fixture).await;

    let restarted = pb::Publisher {
        boot_id: "b2".to_owned(),
        ..MediaServer::connection("c1")
    };
    let back = begin(&fixture, restarted, "rtmp://127.0.0.1/live/one").await;

    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    let moved = worker.next_assignments(1).await.remove(0);
    assert_eq!(moved.lease_id, assignment.lease_id);
    worker
        .expect_accepted(broadcasting_report(&assignment, 9))
        .await;
    assert_eq!(state(&fixture.relay(&live).await), (STARTED, Broadcasting));
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_publisher_that_returns_at_another_media_server_restarts_the_relays(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = holding_fixture(engine, &[]).await;
    let (live, mut worker, assignment) = broadcasting(&fixture).await;
    fixture.node.end(&live, "c1").await;

    let elsewhere = pb::Publisher {
        node_id: "n2".to_owned(),
        ..MediaServer::connection("c1")
    };
    begin(&fixture, elsewhere, "rtmp://127.0.0.2/live/one").await;

    assert_eq!(state(&fixture.relay(&live).await), (STARTED, Stopping));
    let revoked = worker.next_revocations().await;
    assert_eq!(revoked, [assignment.lease_id]);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_relay_without_a_worker_starts_at_once_when_the_publisher_returns(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = holding_fixture(engine, &[]).await;
    let (live, mut worker, assignment) = broadcasting(&fixture).await;
    worker.expect_accepted(retryable_failure(&assignment)).await;
    fixture
        .server
        .database
        .execute("update relays set ready_time = '2999-01-01T00:00:00+00:00'")
        .await;
    fixture.node.end(&live, "c1").await;

    fixture.live("c2").await;

    let next = worker.next_assignments(1).await.remove(0);
    assert_ne!(next.lease_id, assignment.lease_id);
    assert_eq!(next.connection_id, "c2");
    assert_eq!(fixture.relay(&live).await.state(), Starting);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_held_relay_stalls_only_without_byte_growth(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = holding_fixture(engine, &["--relay-stall-timeout=3s"]).await;
    let (live, worker, assignment) = broadcasting(&fixture).await;
    fixture.node.end(&live, "c1").await;
    let holding = |bytes| state_report(&assignment, Holding, bytes);
    worker.expect_accepted(holding(6)).await;
    fixture.backdate("silent_since").await;
    worker.expect_accepted(holding(7)).await;
    assert_eq!(fixture.relay(&live).await.state(), Holding);

    let stalled = eventually("the relay stalls", async || {
        worker.expect_accepted(holding(7)).await;
        let relay = fixture.relay(&live).await;
        (relay.state() == Stalled).then_some(relay)
    });
    assert_eq!(stalled.await.bytes_sent, 7);
    worker.expect_accepted(holding(8)).await;
    assert_eq!(fixture.relay(&live).await.state(), Holding);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn the_end_of_the_reconnect_window_ends_a_hold(#[values(Sqlite, Postgres)] engine: Engine) {
    // Streams expire once the server has run for the heartbeat timeout.
    let flags = ["--heartbeat-timeout=10s", "--relay-lease=1h"];
    let fixture = Fixture::start_with(engine, &flags, 1).await;
    set_policy(&fixture, HOLD).await;
    let (live, mut worker, assignment) = broadcasting(&fixture).await;
    fixture.node.end(&live, "c1").await;
    worker
        .report(vec![state_report(&assignment, Holding, 9)])
        .await;

    assert_eq!(worker.next_revocations().await, [&*assignment.lease_id]);
    worker
        .expect_accepted(state_report(&assignment, Idle, 9))
        .await;
    assert_eq!(state(&fixture.relay(&live).await), (STOPPED, Idle));
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn stopping_the_stream_or_the_relay_ends_a_hold(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] is_stream: bool,
) {
    let fixture = holding_fixture(engine, &[]).await;
    let (live, mut worker, assignment) = broadcasting(&fixture).await;
    fixture.node.end(&live, "c1").await;
    worker
        .expect_accepted(state_report(&assignment, Holding, 9))
        .await;

    match is_stream {
        true => fixture.stop_stream(&live).await,
        false => {
            let destination_id = assignment.relay.clone().unwrap().destination_id;
            let destination = pb::Destination {
                id: destination_id,
                ..Default::default()
            };
            fixture.stop_relay(&live, &destination).await;
        }
    }

    assert_eq!(worker.next_revocations().await, [&*assignment.lease_id]);
    worker
        .expect_lost(state_report(&assignment, Holding, 10))
        .await;
}

#[rstest]
#[tokio::test]
async fn a_change_of_the_policy_is_told_to_the_worker(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_window(engine).await;
    let (_, mut worker, assignment) = broadcasting(&fixture).await;
    for wanted in [HOLD, pb::OutagePolicy::End] {
        set_policy(&fixture, wanted).await;
        let changed = worker.next_assignments(1).await.remove(0);
        assert_eq!(changed.lease_id, assignment.lease_id);
        assert_eq!(policy(&changed), wanted);
    }
}

#[rstest]
#[tokio::test]
async fn after_a_restart_of_the_server_workers_are_told_the_input_of_held_relays(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = holding_fixture(engine, &[]).await;
    let (live, worker, assignment) = broadcasting(&fixture).await;
    fixture.node.end(&live, "c1").await;
    drop(worker);
    let second = MediaServer::connection("c2");
    begin(&fixture, second, "rtmp://127.0.0.1/live/two").await;

    let server: TestServer = fixture.server.restart().await;
    let workers = server.operator(&[sluice::domain::Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&workers, "w1", "", 1000).await;
    let told = worker.next_assignments(1).await.remove(0);
    assert_eq!(told.lease_id, assignment.lease_id);
    assert_eq!(
        (&*told.connection_id, &*told.input_url),
        ("c2", "rtmp://127.0.0.1/live/two")
    );
    worker
        .expect_accepted(broadcasting_report(&assignment, 9))
        .await;
}
