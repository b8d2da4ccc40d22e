//! Changes of a destination while its relay runs.

use std::slice::from_ref;

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{Fixture, STARTED, broadcasting_report, state, state_report};
use crate::harness::{Engine, Postgres, Sqlite};
use pb::RelayState::{Broadcasting, Idle, Stopping};

#[rstest]
#[tokio::test]
async fn a_relay_restarts_with_the_new_url_or_key_after_it_has_stopped(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] key: bool,
) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, mut worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    let mut request = pb::UpdateDestinationRequest {
        destination_id: destination.id.clone(),
        ..Default::default()
    };
    let expected = match key {
        true => {
            request.stream_key = Some("another-key".to_owned());
            "rtmp://live.example.com/app/another-key"
        }
        false => {
            request.url = Some("rtmp://live.example.com/other/".to_owned());
            "rtmp://live.example.com/other/key-of-a"
        }
    };

    fixture.update_destination(request).await;

    assert_eq!(
        worker.next_revocations().await,
        from_ref(&assignment.lease_id)
    );
    let relay = fixture.relay(&live).await;
    assert_eq!(
        (state(&relay), &*relay.worker_id),
        ((STARTED, Stopping), "w1")
    );
    worker
        .expect_lost(broadcasting_report(&assignment, 99))
        .await;
    worker
        .expect_accepted(state_report(&assignment, Idle, 99))
        .await;
    let again = worker.next_assignments(1).await.remove(0);
    assert_eq!(again.output_url, expected);
    assert_eq!(again.relay.as_ref().unwrap().attempt, 0);
    fixture.assert_no_missing_events().await;
}

#[rstest]
#[tokio::test]
async fn a_relay_to_an_address_from_before_a_rule_goes_on(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    for url in [
        "srt://live.example.com:9000?mode=listener&pbkeylen=16",
        "rtmp://192.88.99.1/app",
    ] {
        let fixture = Fixture::start(engine).await;
        fixture.destination("a").await;
        let save = format!("update destinations set platform = 'facebook', url = '{url}'");
        fixture.server.database.execute(&save).await;
        fixture.live("c1").await;

        let mut worker = fixture.worker("w1").await;
        let assigned = worker.next_assignments(1).await.remove(0);

        assert_eq!(assigned.output_server_url, url);
        assert_eq!(assigned.output_stream_key, "key-of-a");
    }
}

#[rstest]
#[tokio::test]
async fn renaming_a_destination_does_not_stop_its_relay(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 5))
        .await;
    let before = fixture.relay(&live).await;

    fixture
        .update_destination(pb::UpdateDestinationRequest {
            destination_id: destination.id,
            display_name: Some("Renamed".to_owned()),
            url: Some(destination.url),
            disabled: Some(true),
            ..Default::default()
        })
        .await;

    assert_eq!(fixture.relay(&live).await, before);
    assert_eq!(state(&before), (STARTED, Broadcasting));
    worker
        .expect_accepted(broadcasting_report(&assignment, 6))
        .await;
}

#[rstest]
#[tokio::test]
async fn deleting_a_destination_removes_its_relay(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (live, destination, mut worker, assignment) = fixture.claimed_relay().await;

    fixture.delete_destination(&destination).await;

    assert_eq!(fixture.relays(&live).await, []);
    assert_eq!(
        worker.next_revocations().await,
        from_ref(&assignment.lease_id)
    );
    worker
        .expect_lost(broadcasting_report(&assignment, 5))
        .await;
    fixture.assert_no_missing_events().await;
}
