//! StartRelay, StopRelay, ListRelays.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::scene::{
    STARTED, STOPPED, Scene, breaks, broadcasts, destination_of, fails, runs, state,
};
use crate::harness::{Engine, Postgres, Sqlite, refused};
use pb::RelayState::{Failed, Idle, Retrying, Starting, Stopping};

#[rstest]
#[tokio::test]
async fn an_owner_starts_and_stops_a_relay_while_the_others_go_on(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    scene.destination("other").await;
    let live = scene.live("c1").await;
    let other = scene.relay(&live).await;
    let disabled = pb::CreateDestinationRequest {
        enabled: Some(false),
        ..destination_of(&scene.project, "late")
    };
    let late = scene.destination_with(disabled).await;
    let before = scene.revision().await;

    let started = scene.started(&live, &late).await;
    assert_eq!(state(&started), (STARTED, Idle));
    assert_eq!(scene.relays(&live).await, [other.clone(), started.clone()]);
    let stopped = scene.stopped(&live, &late).await;
    assert_eq!(state(&stopped), (STOPPED, Idle));
    assert_eq!(scene.relays(&live).await, [other, stopped]);

    assert_eq!(scene.revision().await, before + 2);
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn to_repeat_a_start_or_a_stop_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, destination, worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 9)).await;
    let running = scene.relay(&live).await;
    let before = scene.revision().await;

    assert_eq!(scene.started(&live, &destination).await, running);
    assert_eq!(scene.revision().await, before);
    let stopped = scene.stopped(&live, &destination).await;
    assert_eq!(scene.stopped(&live, &destination).await, stopped);
    assert_eq!(scene.revision().await, before + 1);
    assert_eq!(scene.relay(&live).await, stopped);
}

#[rstest]
#[tokio::test]
async fn a_relay_that_was_never_started_is_stopped_already(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let live = scene.live("c1").await;
    let late = scene.destination("late").await;
    let before = scene.revision().await;

    let stopped = scene.stopped(&live, &late).await;

    assert_eq!(state(&stopped), (STOPPED, Idle));
    assert_eq!(scene.relays(&live).await, []);
    assert_eq!(scene.revision().await, before);
}

#[rstest]
#[tokio::test]
async fn a_stopped_relay_is_its_workers_until_it_has_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (live, destination, worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 9)).await;

    let stopped = scene.stopped(&live, &destination).await;
    assert_eq!(state(&stopped), (STOPPED, Stopping));
    assert_eq!(stopped.worker_id, "w1");
    worker.loses(broadcasts(&assignment, 99)).await;
    worker.loses(runs(&assignment, Stopping, 99)).await;
    assert_eq!(scene.relay(&live).await, stopped);
    worker.takes(runs(&assignment, Idle, 99)).await;

    let idle = scene.relay(&live).await;
    assert_eq!(state(&idle), (STOPPED, Idle));
    assert_eq!(idle.worker_id, "");
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn a_stopped_relay_that_fails_has_stopped(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, destination, worker, assignment) = scene.claimed().await;
    scene.stopped(&live, &destination).await;

    worker.takes(breaks(&assignment)).await;

    let relay = scene.relay(&live).await;
    assert_eq!(state(&relay), (STOPPED, Idle));
    assert_eq!((relay.attempt, relay.error), (0, None));
}

#[rstest]
#[tokio::test]
async fn a_relay_that_is_stopping_and_started_again_is_given_anew_once_it_has_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (live, destination, mut worker, assignment) = scene.claimed().await;
    scene.stopped(&live, &destination).await;
    worker.revoked().await;

    let started = scene.started(&live, &destination).await;

    assert_eq!(state(&started), (STARTED, Stopping));
    assert_eq!(started.worker_id, "w1");
    scene.assert_nothing_for(&mut worker, &live).await;
    worker.loses(broadcasts(&assignment, 99)).await;
    assert_eq!(scene.relay(&live).await, started);
    worker.takes(breaks(&assignment)).await;
    let idle = scene.relay(&live).await;
    assert_eq!(state(&idle), (STARTED, Idle));
    assert_eq!(
        (idle.attempt, idle.error, idle.next_retry_time),
        (0, None, None)
    );
    let again = worker.assigned(1).await;
    assert_ne!(again[0].lease_id, assignment.lease_id);
    worker.takes(broadcasts(&again[0], 9)).await;
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn to_start_a_relay_that_failed_or_waits_tries_again_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(Failed, Retrying)] failed: pb::RelayState,
) {
    let scene = Scene::start(engine).await;
    let (live, destination, mut worker, assignment) = scene.claimed().await;
    let severity = pb::RelayErrorSeverity::Retryable;
    worker.takes(fails(&assignment, failed, severity)).await;
    scene
        .server
        .database
        .execute(
            "update relays set ready_time = '2999-01-01T00:00:00+00:00' where state = 'retrying'",
        )
        .await;
    assert_eq!(scene.relay(&live).await.state(), failed);

    let started = scene.started(&live, &destination).await;

    assert_eq!(state(&started), (STARTED, Idle));
    assert_eq!((started.attempt, &started.error), (0, &None));
    assert_eq!(started.next_retry_time, None);
    let again = worker.assigned(1).await;
    assert_eq!(again[0].relay.as_ref().unwrap().state(), Starting);
}

#[rstest]
#[tokio::test]
async fn a_failed_relay_can_be_stopped(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, destination, worker, assignment) = scene.claimed().await;
    let fatal = pb::RelayErrorSeverity::Fatal;
    worker.takes(fails(&assignment, Failed, fatal)).await;

    let stopped = scene.stopped(&live, &destination).await;

    assert_eq!(state(&stopped), (STOPPED, Idle));
    assert_eq!(stopped.error.unwrap().code, "BROKEN_PIPE");
}

#[rstest]
#[tokio::test]
async fn only_relays_of_a_live_stream_are_started_and_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] ended: bool,
) {
    let scene = Scene::start(engine).await;
    let destination = scene.destination("a").await;
    let stream = match ended {
        false => {
            let answer = scene.node.begin(&scene.key, "c1").await.unwrap();
            answer.into_inner().stream.unwrap()
        }
        true => {
            let live = scene.live("c1").await;
            scene.node.end(&live, "c1").await
        }
    };
    let before = scene.revision().await;

    let started = refused(scene.start_relay(&stream, &destination).await);
    let stopped = refused(scene.stop_relay(&stream, &destination).await);

    let expected = (Code::FailedPrecondition, "STREAM_NOT_LIVE");
    assert_eq!([started.class(), stopped.class()], [expected; 2]);
    assert_eq!(scene.revision().await, before);
}

#[rstest]
#[tokio::test]
async fn a_stream_that_lost_its_publisher_before_any_media_is_not_live(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine).await;
    let destination = scene.destination("a").await;
    let answer = scene.node.begin(&scene.key, "c1").await.unwrap();
    let begun = answer.into_inner().stream.unwrap();
    let lost = scene.node.end(&begun, "c1").await;
    assert_eq!(lost.status(), pb::StreamStatus::Reconnecting);

    let refusal = refused(scene.start_relay(&lost, &destination).await);

    assert_eq!(
        refusal.class(),
        (Code::FailedPrecondition, "STREAM_NOT_LIVE")
    );
    let live = scene.live("c2").await;
    assert_eq!(live.id, begun.id);
    assert_eq!(scene.relays(&live).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn starts_and_stops_are_in_the_audit_log(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let live = scene.live("c1").await;
    let destination = scene.destination("a").await;
    scene.started(&live, &destination).await;
    scene.started(&live, &destination).await;
    scene.stopped(&live, &destination).await;

    let mut auth = scene.owner.client.auth.clone();
    let answer = auth
        .list_audit_events(pb::ListAuditEventsRequest::default())
        .await;
    let events = answer.unwrap().into_inner().events;

    let of_relays: Vec<_> = events
        .iter()
        .filter(|event| event.action.ends_with("Relay"))
        .map(|event| (&*event.action, &event.resource_id))
        .collect();
    let id = &destination.id;
    assert_eq!(of_relays, [("StopRelay", id), ("StartRelay", id)]);
}
