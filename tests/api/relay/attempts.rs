//! What a failure does to a relay.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{STARTED, Scene, at, breaks, broadcasts, fails, state};
use crate::harness::{Engine, Postgres, Sqlite};
use pb::RelayErrorSeverity::{Fatal, Retryable};
use pb::RelayState::{Failed, Retrying, Starting};

#[rstest]
#[tokio::test]
async fn a_relay_that_fails_is_tried_again_later(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;

    worker.takes(breaks(&assignment)).await;

    let relay = scene.relay(&live).await;
    assert_eq!(state(&relay), (STARTED, Retrying));
    assert_eq!((relay.attempt, &*relay.worker_id), (1, ""));
    assert!(at(relay.next_retry_time) > at(relay.update_time));
    let error = relay.error.unwrap();
    assert_eq!((&*error.code, error.severity()), ("BROKEN_PIPE", Retryable));
    worker.loses(broadcasts(&assignment, 9)).await;
    scene.assert_events().await;

    let again = worker.assigned(1).await;
    let relay = again[0].relay.as_ref().unwrap();
    assert_eq!((relay.state(), relay.attempt), (Starting, 1));
    assert_eq!(relay.next_retry_time, None);
    worker.takes(breaks(&again[0])).await;
    assert_eq!(scene.relay(&live).await.attempt, 2);
}

#[rstest]
#[tokio::test]
async fn a_relay_is_not_claimed_before_its_time(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;
    let patient = "update relays set attempt = 40";
    scene.server.database.execute(patient).await;
    worker.takes(breaks(&assignment)).await;
    let waiting = scene.relay(&live).await;
    let wait = waiting.next_retry_time.unwrap().seconds - waiting.update_time.unwrap().seconds;
    assert!((29..=61).contains(&wait), "{wait}");
    worker.revoked().await;

    scene.assert_nothing_for(&mut worker, &live).await;
    scene.long_ago("ready_time").await;

    worker.assigned(1).await;
}

#[rstest]
#[tokio::test]
async fn a_failure_that_will_not_pass_is_not_tried_again(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values((Failed, Fatal), (Failed, Retryable), (Retrying, Fatal))] how: (
        pb::RelayState,
        pb::RelayErrorSeverity,
    ),
) {
    let scene = Scene::start(engine).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;

    worker.takes(fails(&assignment, how.0, how.1)).await;

    let relay = scene.relay(&live).await;
    assert_eq!(state(&relay), (STARTED, Failed));
    assert_eq!((relay.next_retry_time, &*relay.worker_id), (None, ""));
    assert_eq!(relay.error.as_ref().unwrap().severity(), how.1);
    worker.revoked().await;
    scene.assert_nothing_for(&mut worker, &live).await;
    assert_eq!(scene.relay(&live).await, relay);
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn a_minute_of_broadcasting_begins_the_count_anew(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] minute: bool,
) {
    let scene = Scene::start(engine).await;
    let (live, _, worker, assignment) = scene.claimed().await;
    scene
        .server
        .database
        .execute("update relays set attempt = 7")
        .await;
    worker.takes(broadcasts(&assignment, 5)).await;
    if minute {
        scene.long_ago("broadcast_time").await;
    }

    worker.takes(breaks(&assignment)).await;

    let expected = if minute { 1 } else { 8 };
    assert_eq!(scene.relay(&live).await.attempt, expected);
}

#[rstest]
#[tokio::test]
async fn no_key_stays_in_a_workers_words(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, _, worker, assignment) = scene.claimed().await;
    let said = format!("{}: I/O error {}", assignment.output_url, "x".repeat(600));
    let report = pb::RelayReport {
        error: Some(pb::RelayError {
            message: said,
            ..breaks(&assignment).error.unwrap()
        }),
        ..breaks(&assignment)
    };

    worker.takes(report).await;

    let message = scene.relay(&live).await.error.unwrap().message;
    assert!(message.starts_with("rtmp://*** I/O error xxx"), "{message}");
    assert_eq!(message.chars().count(), 512);
    let kept = "select count(*) from events where change like '%key-of-a%'";
    assert_eq!(scene.server.database.number(kept).await, 0);
}
