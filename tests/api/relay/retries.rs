//! Failures and retries of relays.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{
    Fixture, STARTED, broadcasting_report, failure_report, retryable_failure, state, timestamp,
};
use crate::harness::{Engine, Postgres, Sqlite};
use pb::RelayErrorSeverity::{Fatal, Retryable};
use pb::RelayState::{Failed, Retrying, Starting};

#[rstest]
#[tokio::test]
async fn a_failed_relay_is_retried_later(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;

    worker.expect_accepted(retryable_failure(&assignment)).await;

    let relay = fixture.relay(&live).await;
    assert_eq!(state(&relay), (STARTED, Retrying));
    assert_eq!((relay.attempt, &*relay.worker_id), (1, ""));
    assert!(timestamp(relay.next_retry_time) > timestamp(relay.update_time));
    let error = relay.error.unwrap();
    assert_eq!((&*error.code, error.severity()), ("BROKEN_PIPE", Retryable));
    worker
        .expect_lost(broadcasting_report(&assignment, 9))
        .await;
    fixture.assert_no_missing_events().await;

    let again = worker.next_assignments(1).await;
    let relay = again[0].relay.as_ref().unwrap();
    assert_eq!((relay.state(), relay.attempt), (Starting, 1));
    assert_eq!(relay.next_retry_time, None);
    worker.expect_accepted(retryable_failure(&again[0])).await;
    assert_eq!(fixture.relay(&live).await.attempt, 2);
}

#[rstest]
#[tokio::test]
async fn a_relay_is_not_claimed_before_its_next_retry_time(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;
    let many_attempts = "update relays set attempt = 40";
    fixture.server.database.execute(many_attempts).await;
    worker.expect_accepted(retryable_failure(&assignment)).await;
    let waiting = fixture.relay(&live).await;
    let wait = waiting.next_retry_time.unwrap().seconds - waiting.update_time.unwrap().seconds;
    assert!((29..=61).contains(&wait), "{wait}");
    worker.next_revocations().await;

    fixture.assert_not_assigned(&mut worker, &live).await;
    fixture.backdate("ready_time").await;

    worker.next_assignments(1).await;
}

#[rstest]
#[tokio::test]
async fn a_permanent_failure_is_not_retried(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values((Failed, Fatal), (Failed, Retryable), (Retrying, Fatal))] how: (
        pb::RelayState,
        pb::RelayErrorSeverity,
    ),
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;

    worker
        .expect_accepted(failure_report(&assignment, how.0, how.1))
        .await;

    let relay = fixture.relay(&live).await;
    assert_eq!(state(&relay), (STARTED, Failed));
    assert_eq!((relay.next_retry_time, &*relay.worker_id), (None, ""));
    assert_eq!(relay.error.as_ref().unwrap().severity(), how.1);
    worker.next_revocations().await;
    fixture.assert_not_assigned(&mut worker, &live).await;
    assert_eq!(fixture.relay(&live).await, relay);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_minute_of_broadcasting_resets_the_attempt_count_and_proves_the_key(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] minute: bool,
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, mut worker, assignment) = fixture.claimed_relay().await;
    fixture
        .server
        .database
        .execute("update relays set attempt = 7")
        .await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    if minute {
        fixture.backdate("broadcast_time").await;
    }

    worker.expect_accepted(retryable_failure(&assignment)).await;

    let expected = if minute { 1 } else { 8 };
    assert_eq!(fixture.relay(&live).await.attempt, expected);
    let next = worker.next_assignments(1).await.remove(0);
    assert_eq!(
        (assignment.has_broadcast, next.has_broadcast),
        (false, minute)
    );
}

#[rstest]
#[tokio::test]
async fn stream_keys_are_redacted_from_error_messages_of_workers(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, _, worker, assignment) = fixture.claimed_relay().await;
    let said = format!("{}: I/O error {}", assignment.output_url, "x".repeat(600));
    let report = pb::RelayReport {
        error: Some(pb::RelayError {
            message: said,
            ..retryable_failure(&assignment).error.unwrap()
        }),
        ..retryable_failure(&assignment)
    };

    worker.expect_accepted(report).await;

    let message = fixture.relay(&live).await.error.unwrap().message;
    assert!(message.starts_with("rtmp://*** I/O error xxx"), "{message}");
    assert_eq!(message.chars().count(), 512);
    let kept = "select count(*) from events where change like '%key-of-a%'";
    assert_eq!(fixture.server.database.number(kept).await, 0);
}
