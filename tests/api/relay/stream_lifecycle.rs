//! Relays over the lifecycle of their stream.

use std::{collections::BTreeSet, slice::from_ref};

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{
    Fixture, STARTED, STOPPED, broadcasting_report, destination_request, failure_report,
    retryable_failure, state, state_report,
};
use crate::harness::{Engine, Postgres, Sqlite};
use pb::RelayState::{Broadcasting, Failed, Idle, Retrying, Starting, Stopping};

#[rstest]
#[tokio::test]
async fn a_stream_that_goes_live_starts_relays_to_all_enabled_destinations(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let first = fixture.destination("a").await;
    let second = fixture.destination("b").await;
    let disabled = pb::CreateDestinationRequest {
        disabled: true,
        ..destination_request(&fixture.project, "c")
    };
    fixture.create_destination(disabled).await;
    let before = fixture.revision().await;

    let answer = fixture.node.begin(&fixture.key, "c1").await.unwrap();
    let begun = answer.into_inner().stream.unwrap();
    assert_eq!(fixture.relays(&begun).await, [], "there is no media yet");
    let live = fixture.node.heartbeat(&begun, "c1").await.stream.unwrap();

    let relays = fixture.relays(&live).await;
    let expected = [&first, &second].map(|destination| pb::Relay {
        stream_id: live.id.clone(),
        destination_id: destination.id.clone(),
        desired_state: STARTED.into(),
        state: Idle.into(),
        update_time: relays[0].update_time,
        ..Default::default()
    });
    assert_eq!(relays, expected);
    // The begin, the live stream and two relays.
    assert_eq!(fixture.revision().await, before + 4);
    fixture.node.heartbeat(&live, "c1").await;
    assert_eq!(fixture.revision().await, before + 4, "once");
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn enabling_a_destination_does_not_affect_a_running_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let destination = fixture.destination("a").await;
    let live = fixture.live("c1").await;
    let before = fixture.relay(&live).await;
    let late = fixture.destination("late").await;

    for enabled in [false, true] {
        for id in [&destination.id, &late.id] {
            let request = pb::UpdateDestinationRequest {
                destination_id: id.clone(),
                disabled: Some(!enabled),
                ..Default::default()
            };
            fixture.update_destination(request).await;
        }
        assert_eq!(fixture.relay(&live).await, before);
    }
}

#[rstest]
#[tokio::test]
async fn the_end_of_a_stream_stops_its_relays(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    for name in ["leased", "failed", "retrying"] {
        fixture.destination(name).await;
    }
    let live = fixture.live("c1").await;
    // It has no room for another one.
    let mut worker = fixture.worker_with("w1", "", 3).await;
    let assigned = worker.next_assignments(3).await;
    let idle = fixture.destination("stopped").await;
    fixture.start_relay(&live, &idle).await;
    fixture.stop_relay(&live, &idle).await;
    let fatal = pb::RelayErrorSeverity::Fatal;
    worker
        .expect_accepted(broadcasting_report(&assigned[0], 9))
        .await;
    worker
        .expect_accepted(failure_report(&assigned[1], Failed, fatal))
        .await;
    // It would be offered the retry.
    worker
        .report_after_leaving(retryable_failure(&assigned[2]))
        .await;

    fixture.stop_stream(&live).await;

    let relays = fixture.relays(&live).await;
    let states: Vec<_> = relays.iter().map(state).collect();
    assert_eq!(
        states,
        [
            (STOPPED, Stopping),
            (STOPPED, Failed),
            (STOPPED, Idle),
            (STOPPED, Idle)
        ]
    );
    assert_eq!(relays[0].worker_id, "w1");
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn relays_of_a_reconnected_publisher_are_reassigned_after_they_have_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine).await;
    for name in ["leased", "failed", "retrying", "stopped"] {
        fixture.destination(name).await;
    }
    let live = fixture.live("c1").await;
    let mut worker = fixture.worker("w1").await;
    let assigned = worker.next_assignments(4).await;
    let fatal = pb::RelayErrorSeverity::Fatal;
    worker
        .expect_accepted(broadcasting_report(&assigned[0], 9))
        .await;
    worker
        .expect_accepted(failure_report(&assigned[1], Failed, fatal))
        .await;
    worker
        .expect_accepted(retryable_failure(&assigned[2]))
        .await;
    let stopped = pb::StopRelayRequest {
        stream_id: live.id.clone(),
        destination_id: assigned[3].relay.clone().unwrap().destination_id,
        ..Default::default()
    };
    let mut streams = fixture.owner.client.stream.clone();
    streams.stop_relay(stopped).await.unwrap();
    drop(worker);

    fixture.node.end(&live, "c1").await;
    let states = |relays: &[pb::Relay]| relays.iter().map(state).collect::<Vec<_>>();
    let held = fixture.relays(&live).await;
    assert_eq!(
        states(&held),
        [
            (STARTED, Broadcasting),
            (STARTED, Failed),
            (STARTED, Retrying),
            (STOPPED, Stopping)
        ],
        "they are held while it reconnects"
    );

    let back = fixture.live("c2").await;
    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    let relays = fixture.relays(&live).await;
    assert_eq!(
        states(&relays),
        [
            (STARTED, Stopping),
            (STARTED, Failed),
            (STARTED, Idle),
            (STOPPED, Stopping)
        ]
    );
    assert_eq!(relays[0].worker_id, "w1");
    assert_eq!(relays[2].attempt, 1, "the failure counts");
    fixture.assert_no_missing_events().await;

    let mut old = fixture.worker_with("w1", "nowhere", 1).await;
    let leases = [&assigned[0].lease_id, &assigned[3].lease_id].map(String::clone);
    assert_eq!(
        BTreeSet::from_iter(old.next_revocations().await),
        leases.into()
    );
    old.expect_lost(broadcasting_report(&assigned[0], 99)).await;
    let mut worker = fixture.worker("w2").await;
    let first = worker.next_assignments(1).await.remove(0);
    assert_eq!(first.relay, Some(fixture.relays(&live).await.remove(2)));
    old.expect_accepted(state_report(&assigned[0], Idle, 99))
        .await;
    let anew = worker.next_assignments(1).await.remove(0);
    assert_eq!(anew.relay, Some(fixture.relays(&live).await.remove(0)));
    assert_eq!([first.connection_id, anew.connection_id], ["c2", "c2"]);
}

#[rstest]
#[tokio::test]
async fn while_a_stream_reconnects_no_relay_is_claimed_and_leases_remain(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 9))
        .await;
    fixture.node.end(&live, "c1").await;
    let other = fixture.destination("c").await;
    let waiting = fixture.start_relay(&live, &other).await;
    assert_eq!(state(&waiting), (STARTED, Idle));

    // The relay of another project is claimed, the one of the reconnecting stream is not.
    let elsewhere = fixture.owner.project().await;
    let there = fixture
        .create_destination(destination_request(&elsewhere.0, "there"))
        .await;
    fixture.node.live(&elsewhere.1, "c9").await;
    let assigned = worker.next_assignments(1).await;
    assert_eq!(assigned[0].relay.as_ref().unwrap().destination_id, there.id);

    worker
        .expect_accepted(broadcasting_report(&assignment, 9))
        .await;
    let relays = fixture.relays(&live).await;
    assert_eq!(relays[0].state(), Broadcasting);
    assert_eq!(relays[1].state(), Idle);
}

#[rstest]
#[tokio::test]
async fn a_relay_that_breaks_while_its_stream_reconnects_has_not_failed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;
    fixture.node.end(&live, "c1").await;

    worker.expect_accepted(retryable_failure(&assignment)).await;

    let relay = fixture.relay(&live).await;
    assert_eq!(state(&relay), (STARTED, Idle));
    assert_eq!(
        (relay.attempt, relay.error, relay.next_retry_time),
        (0, None, None)
    );
    assert_eq!(
        worker.next_revocations().await,
        from_ref(&assignment.lease_id)
    );
    fixture.live("c2").await;
    let again = worker.next_assignments(1).await;
    let relay = again[0].relay.as_ref().unwrap();
    assert_eq!((relay.state(), relay.attempt), (Starting, 0));
}

#[rstest]
#[tokio::test]
async fn the_next_stream_is_not_relayed_until_the_worker_has_stopped_the_previous_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (last, _, mut worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 9))
        .await;
    fixture.stop_stream(&last).await;
    worker.next_revocations().await;
    drop(worker);

    let next = fixture.live("c2").await;
    assert_ne!(next.id, last.id);
    assert_eq!(state(&fixture.relay(&next).await), (STARTED, Idle));
    let mut other = fixture.worker("w2").await;
    fixture.assert_not_assigned(&mut other, &next).await;
    let old = fixture.worker_with("w1", "nowhere", 1).await;
    old.expect_accepted(state_report(&assignment, Idle, 9))
        .await;

    let relay = other.next_assignments(1).await.remove(0).relay.unwrap();
    assert_eq!(
        (relay.stream_id, relay.worker_id),
        (next.id, "w2".to_owned())
    );
}
