//! StartRelay, StopRelay, ListRelays.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::{
    Fixture, STARTED, STOPPED, broadcasting_report, destination_request, failure_report,
    retryable_failure, state, state_report,
};
use crate::harness::{Engine, Postgres, Sqlite, refused};
use pb::RelayState::{Failed, Idle, Retrying, Starting, Stopping};

#[rstest]
#[tokio::test]
async fn starting_and_stopping_a_relay_does_not_affect_other_relays(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("other").await;
    let live = fixture.live("c1").await;
    let other = fixture.relay(&live).await;
    let disabled = pb::CreateDestinationRequest {
        disabled: true,
        ..destination_request(&fixture.project, "late")
    };
    let late = fixture.create_destination(disabled).await;
    let before = fixture.revision().await;

    let started = fixture.start_relay(&live, &late).await;
    assert_eq!(state(&started), (STARTED, Idle));
    assert_eq!(
        fixture.relays(&live).await,
        [other.clone(), started.clone()]
    );
    let stopped = fixture.stop_relay(&live, &late).await;
    assert_eq!(state(&stopped), (STOPPED, Idle));
    assert_eq!(fixture.relays(&live).await, [other, stopped]);

    assert_eq!(fixture.revision().await, before + 2);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn repeating_a_start_or_a_stop_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 9))
        .await;
    let running = fixture.relay(&live).await;
    let before = fixture.revision().await;

    assert_eq!(fixture.start_relay(&live, &destination).await, running);
    assert_eq!(fixture.revision().await, before);
    let stopped = fixture.stop_relay(&live, &destination).await;
    assert_eq!(fixture.stop_relay(&live, &destination).await, stopped);
    assert_eq!(fixture.revision().await, before + 1);
    assert_eq!(fixture.relay(&live).await, stopped);
}

#[rstest]
#[tokio::test]
async fn stopping_a_relay_that_never_started_changes_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.live("c1").await;
    let late = fixture.destination("late").await;
    let before = fixture.revision().await;

    let stopped = fixture.stop_relay(&live, &late).await;

    assert_eq!(state(&stopped), (STOPPED, Idle));
    assert_eq!(fixture.relays(&live).await, []);
    assert_eq!(fixture.revision().await, before);
}

#[rstest]
#[tokio::test]
async fn a_stopping_relay_belongs_to_its_worker_until_it_has_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 9))
        .await;

    let stopped = fixture.stop_relay(&live, &destination).await;
    assert_eq!(state(&stopped), (STOPPED, Stopping));
    assert_eq!(stopped.worker_id, "w1");
    worker
        .expect_lost(broadcasting_report(&assignment, 99))
        .await;
    worker
        .expect_lost(state_report(&assignment, Stopping, 99))
        .await;
    assert_eq!(fixture.relay(&live).await, stopped);
    worker
        .expect_accepted(state_report(&assignment, Idle, 99))
        .await;

    let idle = fixture.relay(&live).await;
    assert_eq!(state(&idle), (STOPPED, Idle));
    assert_eq!(idle.worker_id, "");
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_stopping_relay_that_fails_becomes_idle(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, worker, assignment) = fixture.claimed_relay().await;
    fixture.stop_relay(&live, &destination).await;

    worker.expect_accepted(retryable_failure(&assignment)).await;

    let relay = fixture.relay(&live).await;
    assert_eq!(state(&relay), (STOPPED, Idle));
    assert_eq!((relay.attempt, relay.error), (0, None));
}

#[rstest]
#[tokio::test]
async fn a_relay_restarted_while_stopping_is_reassigned_after_it_has_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, mut worker, assignment) = fixture.claimed_relay().await;
    fixture.stop_relay(&live, &destination).await;
    worker.next_revocations().await;

    let started = fixture.start_relay(&live, &destination).await;

    assert_eq!(state(&started), (STARTED, Stopping));
    assert_eq!(started.worker_id, "w1");
    fixture.assert_not_assigned(&mut worker, &live).await;
    worker
        .expect_lost(broadcasting_report(&assignment, 99))
        .await;
    assert_eq!(fixture.relay(&live).await, started);
    worker.expect_accepted(retryable_failure(&assignment)).await;
    let idle = fixture.relay(&live).await;
    assert_eq!(state(&idle), (STARTED, Idle));
    assert_eq!(
        (idle.attempt, idle.error, idle.next_retry_time),
        (0, None, None)
    );
    let again = worker.next_assignments(1).await;
    assert_ne!(again[0].lease_id, assignment.lease_id);
    worker
        .expect_accepted(broadcasting_report(&again[0], 9))
        .await;
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn starting_a_failed_or_retrying_relay_retries_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(Failed, Retrying)] failed: pb::RelayState,
) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, mut worker, assignment) = fixture.claimed_relay().await;
    let severity = pb::RelayErrorSeverity::Retryable;
    worker
        .expect_accepted(failure_report(&assignment, failed, severity))
        .await;
    fixture
        .server
        .database
        .execute(
            "update relays set ready_time = '2999-01-01T00:00:00+00:00' where state = 'retrying'",
        )
        .await;
    assert_eq!(fixture.relay(&live).await.state(), failed);

    let started = fixture.start_relay(&live, &destination).await;

    assert_eq!(state(&started), (STARTED, Idle));
    assert_eq!((started.attempt, &started.error), (0, &None));
    assert_eq!(started.next_retry_time, None);
    let again = worker.next_assignments(1).await;
    assert_eq!(again[0].relay.as_ref().unwrap().state(), Starting);
}

#[rstest]
#[tokio::test]
async fn a_failed_relay_can_be_stopped(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, worker, assignment) = fixture.claimed_relay().await;
    let fatal = pb::RelayErrorSeverity::Fatal;
    worker
        .expect_accepted(failure_report(&assignment, Failed, fatal))
        .await;

    let stopped = fixture.stop_relay(&live, &destination).await;

    assert_eq!(state(&stopped), (STOPPED, Idle));
    assert_eq!(stopped.error.unwrap().code, "BROKEN_PIPE");
}

#[rstest]
#[tokio::test]
async fn only_relays_of_a_live_stream_can_be_started_or_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] ended: bool,
) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let stream = match ended {
        false => {
            let answer = fixture.node.begin(&fixture.key, "c1").await.unwrap();
            answer.into_inner().stream.unwrap()
        }
        true => {
            let live = fixture.live("c1").await;
            fixture.node.end(&live, "c1").await
        }
    };
    let before = fixture.revision().await;

    let started = refused(fixture.try_start_relay(&stream, &destination).await);
    let stopped = refused(fixture.try_stop_relay(&stream, &destination).await);

    let expected = (Code::FailedPrecondition, "STREAM_NOT_LIVE");
    assert_eq!([started.class(), stopped.class()], [expected; 2]);
    assert_eq!(fixture.revision().await, before);
}

#[rstest]
#[tokio::test]
async fn a_stream_that_lost_its_publisher_before_any_media_is_not_live(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine).await;
    let destination = fixture.destination("a").await;
    let answer = fixture.node.begin(&fixture.key, "c1").await.unwrap();
    let begun = answer.into_inner().stream.unwrap();
    let lost = fixture.node.end(&begun, "c1").await;
    assert_eq!(lost.state(), pb::StreamState::Reconnecting);

    let refusal = refused(fixture.try_start_relay(&lost, &destination).await);

    assert_eq!(
        refusal.class(),
        (Code::FailedPrecondition, "STREAM_NOT_LIVE")
    );
    let live = fixture.live("c2").await;
    assert_eq!(live.id, begun.id);
    assert_eq!(fixture.relays(&live).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn starts_and_stops_are_in_the_audit_log(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.live("c1").await;
    let destination = fixture.destination("a").await;
    fixture.start_relay(&live, &destination).await;
    fixture.start_relay(&live, &destination).await;
    fixture.stop_relay(&live, &destination).await;

    let mut auth = fixture.owner.client.auth.clone();
    let answer = auth
        .list_audit_events(pb::ListAuditEventsRequest::default())
        .await;
    let events = answer.unwrap().into_inner().audit_events;

    let of_relays: Vec<_> = events
        .iter()
        .filter(|event| event.action.ends_with("Relay"))
        .map(|event| (&*event.action, &event.resource_id))
        .collect();
    let id = &destination.id;
    assert_eq!(of_relays, [("StopRelay", id), ("StartRelay", id)]);
}

#[rstest]
#[tokio::test]
async fn a_repeated_request_does_not_undo_a_later_one(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let live = fixture.live("c1").await;
    let mut client = fixture.owner.client.stream.clone();
    let stop = pb::StopRelayRequest {
        stream_id: live.id.clone(),
        destination_id: destination.id.clone(),
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    client.stop_relay(stop.clone()).await.unwrap();
    let start = pb::StartRelayRequest {
        stream_id: live.id.clone(),
        destination_id: destination.id.clone(),
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    let started = client.start_relay(start.clone()).await.unwrap();
    let started = started.into_inner().relay.unwrap();
    let before = fixture.revision().await;

    let again = client.stop_relay(stop).await.unwrap().into_inner();
    assert_eq!(again.relay.unwrap(), started);
    let again = client.start_relay(start).await.unwrap().into_inner();
    assert_eq!(again.relay.unwrap(), started);
    assert_eq!(fixture.revision().await, before);
}

#[rstest]
#[tokio::test]
async fn relays_are_listed_in_pages_and_by_state(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    for name in ["a", "b", "c"] {
        fixture.destination(name).await;
    }
    let live = fixture.live("c1").await;
    let all = fixture.relays(&live).await;
    assert_eq!(all.len(), 3);
    let list = async |page_size: i32, page_token: &str, state: Option<pb::RelayState>| {
        let request = pb::ListRelaysRequest {
            stream_id: live.id.clone(),
            page_size,
            page_token: page_token.to_owned(),
            state: state.map(Into::into),
        };
        let answer = fixture
            .owner
            .client
            .stream
            .clone()
            .list_relays(request)
            .await;
        answer.unwrap().into_inner()
    };

    let first = list(2, "", None).await;
    let second = list(2, &first.next_page_token, None).await;
    assert_eq!(first.relays, all[..2]);
    assert_eq!(second.relays, all[2..]);
    assert_eq!(second.next_page_token, "");
    assert_eq!(list(0, "", Some(Idle)).await.relays, all);
    assert_eq!(list(0, "", Some(Failed)).await.relays, []);

    for state in [0, 100, -1] {
        let request = pb::ListRelaysRequest {
            stream_id: live.id.clone(),
            state: Some(state),
            page_size: -1,
            ..Default::default()
        };
        let answer = fixture
            .owner
            .client
            .stream
            .clone()
            .list_relays(request)
            .await;
        assert_eq!(refused(answer).fields(), ["page_size", "state"]);
    }
}
