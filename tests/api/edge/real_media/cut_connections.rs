use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::time::sleep;

use super::{Fixture, wait_for};
use pb::RelayState::{Broadcasting, Retrying, Stalled};

#[tokio::test]
async fn a_connection_that_is_cut_without_a_close_stalls_and_is_retried_until_the_network_is_back()
{
    let fixture = Fixture::start().await;
    let (platform, proxy, destination) = fixture.destination_behind_proxy().await;
    let (mut publisher, _) = fixture.live().await;
    fixture.wait_for_relay(&destination, Broadcasting).await;
    fixture.wait_for_more_bytes(&platform).await;

    proxy.cut().unwrap();
    fixture.wait_for_relay(&destination, Stalled).await;
    let relay = wait_for("it is retried again and again", async || {
        let relay = fixture.owner.relay(&destination).await.unwrap();
        assert_ne!(relay.state(), Broadcasting, "no byte is delivered");
        assert_ne!(relay.state(), pb::RelayState::Failed);
        (relay.attempt >= 2).then_some(relay)
    })
    .await;
    assert_eq!(relay.error.unwrap().code, "CONNECT_TIMEOUT");
    let states = fixture.owner.relay_states(&destination).await;
    let retries = states.iter().filter(|state| **state == Retrying).count();
    assert!(retries >= 2, "{states:?}");
    let stalled = states.iter().position(|state| *state == Stalled).unwrap();
    assert!(!states[stalled..].contains(&Broadcasting), "{states:?}");

    proxy.restore().unwrap();
    fixture.wait_for_relay(&destination, Broadcasting).await;
    fixture.wait_for_more_bytes(&platform).await;
    assert_eq!(publisher.ended(), None);
    fixture.end().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_for_less_than_the_progress_timeout_is_replaced_under_its_lease() {
    let fixture = Fixture::start().await;
    let (platform, proxy, destination) = fixture.destination_behind_proxy().await;
    let _live = fixture.live().await;
    fixture.wait_for_relay(&destination, Broadcasting).await;
    fixture.wait_for_more_bytes(&platform).await;

    proxy.cut().unwrap();
    fixture.wait_for_relay(&destination, Stalled).await;
    proxy.restore().unwrap();
    let relay = fixture.wait_for_relay(&destination, Broadcasting).await;
    assert_eq!((relay.attempt, relay.error), (0, None));
    fixture.wait_for_more_bytes(&platform).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_connection_that_the_platform_resets_is_replaced_without_a_failure() {
    let fixture = Fixture::start().await;
    let (platform, proxy, destination) = fixture.destination_behind_proxy().await;
    let _live = fixture.live().await;
    fixture.wait_for_relay(&destination, Broadcasting).await;
    // Sooner, the platform may have refused the stream.
    sleep(Duration::from_secs(12)).await;

    proxy.reset();
    wait_for("it publishes again", async || {
        (platform.publishes() == 2).then_some(())
    })
    .await;
    fixture.wait_for_more_bytes(&platform).await;
    let relay = fixture.owner.relay(&destination).await.unwrap();
    assert_eq!(
        (relay.state(), relay.attempt, relay.error),
        (Broadcasting, 0, None)
    );
    fixture.end().await;
}
