//! Relays to destinations with a delay after the end of their stream.

use std::time::Duration;

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::Code;

use super::fixture::{
    Fixture, STARTED, STOPPED, Worker, broadcasting_report, destination_request, retryable_failure,
    state, state_report,
};
use crate::harness::{Client, Engine, MediaServer, Postgres, Sqlite, eventually, refused};
use pb::RelayState::{Broadcasting, Draining, Idle, Stalled, Starting, Stopping};

/// The delay and the grace.
const DRAIN_TIME: Duration = Duration::from_secs(30 + 10);

/// A stream whose only relay broadcasts, with a delay of 30 seconds.
struct Show {
    fixture: Fixture,
    destination: pb::Destination,
    stream: pb::Stream,
    worker: Worker,
    assignment: pb::RelayAssignment,
}

impl Show {
    async fn start(engine: Engine) -> Self {
        Self::over(Fixture::start(engine).await).await
    }

    async fn over(fixture: Fixture) -> Self {
        let destination = fixture.create_destination(pb::CreateDestinationRequest {
            delay: Some(Duration::from_secs(30).try_into().unwrap()),
            ..destination_request(&fixture.project, "a")
        });
        let destination = destination.await;
        let stream = fixture.live("c1").await;
        let mut worker = fixture.worker("w1").await;
        let assignment = worker.next_assignments(1).await.remove(0);
        worker
            .expect_accepted(broadcasting_report(&assignment, 5))
            .await;
        Self {
            fixture,
            destination,
            stream,
            worker,
            assignment,
        }
    }

    /// Whose publisher has ended, and whose worker was told.
    async fn draining(engine: Engine) -> Self {
        let mut show = Self::start(engine).await;
        show.fixture.node.end(&show.stream, "c1").await;
        let timeout = show.worker.next_drain(&show.assignment).await;
        assert!(
            timeout <= DRAIN_TIME && timeout > DRAIN_TIME / 2,
            "{timeout:?}"
        );
        assert_eq!(show.relay_state().await, (STOPPED, Draining));
        show
    }

    async fn relay_state(&self) -> (pb::RelayDesiredState, pb::RelayState) {
        state(&self.fixture.relay(&self.stream).await)
    }

    /// Checks that the worker has to stop at once.
    async fn assert_stops_at_once(mut self) {
        let revoked = self.worker.next_revocations().await;
        assert_eq!(revoked, [&*self.assignment.lease_id]);
        let report = broadcasting_report(&self.assignment, 99);
        self.worker.expect_lost(report).await;
        let given_back = state_report(&self.assignment, Idle, 99);
        self.worker.report(vec![given_back]).await;
        self.fixture.assert_no_missing_events().await;
    }
}

#[rstest]
#[tokio::test]
async fn after_the_end_of_the_publisher_the_worker_keeps_its_lease_until_it_gives_it_back(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let show = Show::draining(engine).await;
    for (bytes, running) in (6..).zip([Broadcasting, Stalled, Starting, Stopping, Draining]) {
        let report = state_report(&show.assignment, running, bytes);
        show.worker.expect_accepted(report).await;
        let relay = show.fixture.relay(&show.stream).await;
        assert_eq!(
            (state(&relay), relay.bytes_sent),
            ((STOPPED, Draining), bytes)
        );
        assert_eq!(relay.worker_id, "w1");
    }

    let given_back = state_report(&show.assignment, Idle, 11);
    show.worker.expect_accepted(given_back).await;
    assert_eq!(show.relay_state().await, (STOPPED, Idle));
    let late = broadcasting_report(&show.assignment, 12);
    show.worker.expect_lost(late).await;
    show.fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_failure_while_it_drains_ends_a_relay(#[values(Sqlite, Postgres)] engine: Engine) {
    let show = Show::draining(engine).await;
    let failed = retryable_failure(&show.assignment);
    show.worker.expect_accepted(failed).await;
    let relay = show.fixture.relay(&show.stream).await;
    assert_eq!((state(&relay), relay.attempt), ((STOPPED, Idle), 0));
    show.fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn without_a_delay_a_worker_stops_at_the_end_of_the_publisher(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (stream, _, mut worker, assignment) = fixture.claimed_relay().await;
    fixture.node.end(&stream, "c1").await;
    assert_eq!(state(&fixture.relay(&stream).await), (STOPPED, Stopping));
    assert_eq!(worker.next_revocations().await, [assignment.lease_id]);
}

#[rstest]
#[tokio::test]
async fn the_end_of_the_reconnect_window_lets_a_relay_drain(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    // Streams expire once the server has run for the heartbeat timeout.
    let flags = ["--heartbeat-timeout=10s", "--relay-lease=1h"];
    let mut show = Show::over(Fixture::start_with(engine, &flags, 1).await).await;
    show.fixture.node.end(&show.stream, "c1").await;
    show.worker.next_drain(&show.assignment).await;
    assert_eq!(show.relay_state().await, (STOPPED, Draining));
}

#[rstest]
#[tokio::test]
async fn a_stream_that_somebody_ends_does_not_drain(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values("stop", "take over", "rotate")] end: &str,
) {
    let show = Show::start(engine).await;
    let fixture = &show.fixture;
    let mut projects = fixture.owner.client.project.clone();
    match end {
        "stop" => fixture.stop_stream(&show.stream).await,
        "take over" => {
            let request = pb::UpdateProjectRequest {
                project_id: fixture.project.id.clone(),
                publish_conflict_policy: Some(pb::PublishConflictPolicy::Takeover.into()),
                ..Default::default()
            };
            projects.update_project(request).await.unwrap();
            fixture.live("c2").await;
        }
        _ => {
            let request = pb::RotateStreamKeyRequest {
                project_id: fixture.project.id.clone(),
                ..Default::default()
            };
            projects.rotate_stream_key(request).await.unwrap();
        }
    }
    assert_eq!(show.relay_state().await, (STOPPED, Stopping));
    show.assert_stops_at_once().await;
}

#[rstest]
#[tokio::test]
async fn the_owner_can_stop_a_relay_that_drains(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values("stream", "relay", "destination", "address", "delay", "project", "key")] what: &str,
) {
    let show = Show::draining(engine).await;
    let (fixture, destination) = (&show.fixture, &show.destination);
    let change = pb::UpdateDestinationRequest {
        destination_id: destination.id.clone(),
        ..Default::default()
    };
    match what {
        "stream" => fixture.stop_stream(&show.stream).await,
        "relay" => {
            let stopped = fixture.stop_relay(&show.stream, destination).await;
            assert_eq!(state(&stopped), (STOPPED, Stopping));
        }
        "destination" => fixture.delete_destination(destination).await,
        "address" => {
            let url = Some("rtmp://other.example.com/app".to_owned());
            let change = pb::UpdateDestinationRequest {
                url,
                stream_key: Some("another-key".to_owned()),
                ..change
            };
            fixture.update_destination(change).await;
        }
        "project" => {
            let change = pb::UpdateProjectRequest {
                project_id: fixture.project.id.clone(),
                disabled: Some(true),
                ..Default::default()
            };
            let mut projects = fixture.owner.client.project.clone();
            projects.update_project(change).await.unwrap();
        }
        "key" => {
            let change = pb::RotateStreamKeyRequest {
                project_id: fixture.project.id.clone(),
                ..Default::default()
            };
            let mut projects = fixture.owner.client.project.clone();
            projects.rotate_stream_key(change).await.unwrap();
        }
        _ => {
            let delay = Some(prost_types::Duration::default());
            let change = pb::UpdateDestinationRequest { delay, ..change };
            fixture.update_destination(change).await;
        }
    }
    show.assert_stops_at_once().await;
}

#[rstest]
#[tokio::test]
async fn the_suspension_of_an_account_stops_its_relays_that_drain(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mut show = Show::draining(engine).await;
    let database = &show.fixture.server.database;
    database
        .execute("update users set suspend_time = (select max(create_time) from streams)")
        .await;
    let revoked = show.worker.next_revocations().await;
    assert_eq!(revoked, [&*show.assignment.lease_id]);
}

#[rstest]
#[tokio::test]
async fn stopping_an_ended_stream_again_changes_nothing_more(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let show = Show::draining(engine).await;
    show.fixture.stop_stream(&show.stream).await;
    let revision = show.fixture.revision().await;
    show.fixture.stop_stream(&show.stream).await;
    assert_eq!(show.fixture.revision().await, revision);
    assert_eq!(show.relay_state().await, (STOPPED, Stopping));
    show.fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_relay_that_drains_cannot_be_started(#[values(Sqlite, Postgres)] engine: Engine) {
    let show = Show::draining(engine).await;
    let started = show
        .fixture
        .try_start_relay(&show.stream, &show.destination)
        .await;
    let expected = (Code::FailedPrecondition, "STREAM_NOT_LIVE");
    assert_eq!(refused(started).class(), expected);
    assert_eq!(show.relay_state().await, (STOPPED, Draining));
}

#[rstest]
#[tokio::test]
async fn a_worker_that_does_not_end_in_time_has_to_stop(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let show = Show::draining(engine).await;
    show.fixture.backdate("ready_time").await;
    let late = broadcasting_report(&show.assignment, 9);
    show.worker.expect_lost(late).await;
    let given_back = state_report(&show.assignment, Idle, 9);
    show.worker.expect_accepted(given_back).await;
    assert_eq!(show.relay_state().await, (STOPPED, Idle));
    show.fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn the_lease_of_a_worker_that_dies_while_its_relay_drains_expires(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let show = Show::draining(engine).await;
    show.fixture.backdate("lease_expire_time").await;
    eventually("the lease expires", async || {
        (show.relay_state().await == (STOPPED, Idle)).then_some(())
    })
    .await;
    show.fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn the_next_stream_waits_for_a_destination_whose_relay_drains(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mut show = Show::draining(engine).await;
    let next = show.fixture.live("c2").await;
    assert_ne!(next.id, show.stream.id);
    show.fixture
        .assert_not_assigned(&mut show.worker, &next)
        .await;
    let report = broadcasting_report(&show.assignment, 7);
    show.worker.expect_accepted(report).await;

    let given_back = state_report(&show.assignment, Idle, 7);
    show.worker.expect_accepted(given_back).await;
    let assigned = show.worker.next_assignments(1).await.remove(0);
    let relay = assigned.relay.unwrap();
    assert_eq!(
        (&relay.stream_id, relay.desired_state()),
        (&next.id, STARTED)
    );
}

#[rstest]
#[tokio::test]
async fn a_restart_of_the_server_interrupts_no_relay_that_drains(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let Show {
        fixture,
        stream,
        worker,
        assignment,
        ..
    } = Show::draining(engine).await;
    drop(worker);
    let Fixture { server, owner, .. } = fixture;
    let server = server.restart().await;
    let workers = server.operator(&[Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&workers, "w1", "", 1000).await;
    let left = worker.next_drain(&assignment).await;
    assert!(left < DRAIN_TIME, "{left:?}");
    worker
        .expect_accepted(broadcasting_report(&assignment, 6))
        .await;

    // Another interruption, and the owner loses patience.
    drop(worker);
    let owner = Client::with_token(&server.channel, &owner.tokens.access_token);
    let request = pb::StopStreamRequest {
        stream_id: stream.id.clone(),
        ..Default::default()
    };
    owner.stream.clone().stop_stream(request).await.unwrap();
    let mut worker = Worker::claim(&workers, "w1", "", 1000).await;
    assert_eq!(worker.next_revocations().await, [&*assignment.lease_id]);
    let given_back = state_report(&assignment, Idle, 6);
    worker.expect_accepted(given_back).await;
}

#[rstest]
#[tokio::test]
async fn a_media_server_that_reports_all_its_streams_lets_those_drain_that_have_ended(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mut show = Show::start(engine).await;
    let request = pb::SyncNodeRequest {
        node_id: MediaServer::connection("c1").node_id,
        boot_id: "b2".to_owned(),
        ..Default::default()
    };
    let mut streams = show.fixture.node.client.stream.clone();
    streams.sync_node(request).await.unwrap();
    show.worker.next_drain(&show.assignment).await;
    assert_eq!(show.relay_state().await, (STOPPED, Draining));
    show.fixture.assert_no_missing_events().await;
}
