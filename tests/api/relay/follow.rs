//! Relays follow their stream.

use std::{collections::BTreeSet, slice::from_ref};

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{
    STARTED, STOPPED, Scene, breaks, broadcasts, destination_of, fails, runs, state,
};
use crate::harness::{Engine, Postgres, Sqlite};
use pb::RelayState::{Broadcasting, Failed, Idle, Retrying, Starting, Stopping};

#[rstest]
#[tokio::test]
async fn when_a_stream_goes_live_it_is_to_be_sent_to_every_enabled_destination(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let first = scene.destination("a").await;
    let second = scene.destination("b").await;
    let disabled = pb::CreateDestinationRequest {
        enabled: Some(false),
        ..destination_of(&scene.project, "c")
    };
    scene.destination_with(disabled).await;
    let before = scene.revision().await;

    let answer = scene.node.begin(&scene.key, "c1").await.unwrap();
    let begun = answer.into_inner().stream.unwrap();
    assert_eq!(scene.relays(&begun).await, [], "there is no media yet");
    let live = scene.node.heartbeat(&begun, "c1").await.stream.unwrap();

    let relays = scene.relays(&live).await;
    let expected = [&first, &second].map(|destination| pb::Relay {
        stream_id: live.id.clone(),
        destination_id: destination.id.clone(),
        desired: STARTED.into(),
        state: Idle.into(),
        update_time: relays[0].update_time,
        ..Default::default()
    });
    assert_eq!(relays, expected);
    // The begin, the stream that is live, and two relays.
    assert_eq!(scene.revision().await, before + 4);
    scene.node.heartbeat(&live, "c1").await;
    assert_eq!(scene.revision().await, before + 4, "once");
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn enabling_a_destination_leaves_a_running_stream_alone(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let destination = scene.destination("a").await;
    let live = scene.live("c1").await;
    let before = scene.relay(&live).await;
    let late = scene.destination("late").await;

    for enabled in [false, true] {
        for id in [&destination.id, &late.id] {
            let request = pb::UpdateDestinationRequest {
                destination_id: id.clone(),
                enabled: Some(enabled),
                ..Default::default()
            };
            scene.update_destination(request).await;
        }
        assert_eq!(scene.relay(&live).await, before);
    }
}

#[rstest]
#[tokio::test]
async fn when_a_stream_ends_its_relays_are_to_stop(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    for name in ["leased", "failed", "retrying"] {
        scene.destination(name).await;
    }
    let live = scene.live("c1").await;
    let mut worker = scene.worker("w1").await;
    let assigned = worker.assigned(3).await;
    let idle = scene.destination("stopped").await;
    scene.started(&live, &idle).await;
    scene.stopped(&live, &idle).await;
    let fatal = pb::RelayErrorSeverity::Fatal;
    worker.takes(broadcasts(&assigned[0], 9)).await;
    worker.takes(fails(&assigned[1], Failed, fatal)).await;
    worker.takes(breaks(&assigned[2])).await;

    scene.stop_stream(&live).await;

    let relays = scene.relays(&live).await;
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
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn when_a_publisher_comes_back_its_relays_are_given_anew_once_they_have_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine).await;
    for name in ["leased", "failed", "retrying", "stopped"] {
        scene.destination(name).await;
    }
    let live = scene.live("c1").await;
    let mut worker = scene.worker("w1").await;
    let assigned = worker.assigned(4).await;
    let fatal = pb::RelayErrorSeverity::Fatal;
    worker.takes(broadcasts(&assigned[0], 9)).await;
    worker.takes(fails(&assigned[1], Failed, fatal)).await;
    worker.takes(breaks(&assigned[2])).await;
    let stopped = pb::StopRelayRequest {
        stream_id: live.id.clone(),
        destination_id: assigned[3].relay.clone().unwrap().destination_id,
    };
    let mut streams = scene.owner.client.stream.clone();
    streams.stop_relay(stopped).await.unwrap();
    drop(worker);

    scene.node.end(&live, "c1").await;
    let states = |relays: &[pb::Relay]| relays.iter().map(state).collect::<Vec<_>>();
    let held = scene.relays(&live).await;
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

    let back = scene.live("c2").await;
    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    let relays = scene.relays(&live).await;
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
    scene.assert_events().await;

    let mut old = scene.worker_with("w1", "nowhere", 1).await;
    let leases = [&assigned[0].lease_id, &assigned[3].lease_id].map(String::clone);
    assert_eq!(BTreeSet::from_iter(old.revoked().await), leases.into());
    old.loses(broadcasts(&assigned[0], 99)).await;
    let mut worker = scene.worker("w2").await;
    let first = worker.assigned(1).await.remove(0);
    assert_eq!(first.relay, Some(scene.relays(&live).await.remove(2)));
    old.takes(runs(&assigned[0], Idle, 99)).await;
    let anew = worker.assigned(1).await.remove(0);
    assert_eq!(anew.relay, Some(scene.relays(&live).await.remove(0)));
    assert_eq!([first.connection_id, anew.connection_id], ["c2", "c2"]);
}

#[rstest]
#[tokio::test]
async fn while_a_stream_reconnects_nothing_is_claimed_and_leases_stay(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 9)).await;
    scene.node.end(&live, "c1").await;
    let other = scene.destination("c").await;
    let waiting = scene.started(&live, &other).await;
    assert_eq!(state(&waiting), (STARTED, Idle));

    // A stream of another project is claimed, this one's relay is not.
    let elsewhere = scene.owner.project().await;
    let there = scene
        .destination_with(destination_of(&elsewhere.0, "there"))
        .await;
    scene.node.live(&elsewhere.1, "c9").await;
    let assigned = worker.assigned(1).await;
    assert_eq!(assigned[0].relay.as_ref().unwrap().destination_id, there.id);

    worker.takes(broadcasts(&assignment, 9)).await;
    let relays = scene.relays(&live).await;
    assert_eq!(relays[0].state(), Broadcasting);
    assert_eq!(relays[1].state(), Idle);
}

#[rstest]
#[tokio::test]
async fn a_relay_that_breaks_off_while_its_stream_reconnects_has_not_failed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;
    scene.node.end(&live, "c1").await;

    worker.takes(breaks(&assignment)).await;

    let relay = scene.relay(&live).await;
    assert_eq!(state(&relay), (STARTED, Idle));
    assert_eq!(
        (relay.attempt, relay.error, relay.next_retry_time),
        (0, None, None)
    );
    assert_eq!(worker.revoked().await, from_ref(&assignment.lease_id));
    scene.live("c2").await;
    let again = worker.assigned(1).await;
    let relay = again[0].relay.as_ref().unwrap();
    assert_eq!((relay.state(), relay.attempt), (Starting, 0));
}

#[rstest]
#[tokio::test]
async fn the_next_stream_waits_for_the_worker_that_still_sends_the_last_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (last, _, mut worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 9)).await;
    scene.stop_stream(&last).await;
    worker.revoked().await;
    drop(worker);

    let next = scene.live("c2").await;
    assert_ne!(next.id, last.id);
    assert_eq!(state(&scene.relay(&next).await), (STARTED, Idle));
    let mut other = scene.worker("w2").await;
    scene.assert_nothing_for(&mut other, &next).await;
    let old = scene.worker_with("w1", "nowhere", 1).await;
    old.takes(runs(&assignment, Idle, 9)).await;

    let relay = other.assigned(1).await.remove(0).relay.unwrap();
    assert_eq!(
        (relay.stream_id, relay.worker_id),
        (next.id, "w2".to_owned())
    );
}
