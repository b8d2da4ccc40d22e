//! What changes of a destination while its relay runs.

use std::slice::from_ref;

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{STARTED, Scene, broadcasts, runs, state};
use crate::harness::{Engine, Postgres, Sqlite};
use pb::RelayState::{Broadcasting, Idle, Stopping};

#[rstest]
#[tokio::test]
async fn once_it_has_stopped_a_relay_goes_on_at_the_new_address_or_with_the_new_key(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] key: bool,
) {
    let scene = Scene::start(engine).await;
    let (live, destination, mut worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;
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

    scene.update_destination(request).await;

    assert_eq!(worker.revoked().await, from_ref(&assignment.lease_id));
    let relay = scene.relay(&live).await;
    assert_eq!(
        (state(&relay), &*relay.worker_id),
        ((STARTED, Stopping), "w1")
    );
    worker.loses(broadcasts(&assignment, 99)).await;
    worker.takes(runs(&assignment, Idle, 99)).await;
    let again = worker.assigned(1).await.remove(0);
    assert_eq!(again.output_url, expected);
    assert_eq!(again.relay.as_ref().unwrap().attempt, 0);
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn a_relay_goes_on_when_its_destination_is_renamed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (live, destination, worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;
    let before = scene.relay(&live).await;

    scene
        .update_destination(pb::UpdateDestinationRequest {
            destination_id: destination.id,
            name: Some("Renamed".to_owned()),
            url: Some(destination.url),
            enabled: Some(false),
            ..Default::default()
        })
        .await;

    assert_eq!(scene.relay(&live).await, before);
    assert_eq!(state(&before), (STARTED, Broadcasting));
    worker.takes(broadcasts(&assignment, 6)).await;
}

#[rstest]
#[tokio::test]
async fn a_relay_is_gone_with_its_destination(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, destination, mut worker, assignment) = scene.claimed().await;

    scene.delete_destination(&destination).await;

    assert_eq!(scene.relays(&live).await, []);
    assert_eq!(worker.revoked().await, from_ref(&assignment.lease_id));
    worker.loses(broadcasts(&assignment, 5)).await;
    scene.assert_events().await;
}
