//! The delay of a destination at the end of a stream, between real programs.

use std::time::Duration;

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::Fixture;
use pb::RelayState::{Broadcasting, Draining, Idle};

const DELAY: Duration = Duration::from_secs(10);

/// By how much recordings of two relays may differ, in seconds: a group of pictures, and the last
/// packets, which a relay without a delay need not send.
const MAX_DIFFERENCE: f64 = 4.0;

#[rstest]
#[tokio::test]
async fn what_is_held_back_at_the_end_of_the_publisher_is_sent(
    #[values(false, true)] restarts_control_plane: bool,
) {
    let mut fixture = Fixture::start().await;
    let (direct, _) = fixture.destination("direct").await;
    let (platform, destination) = fixture.destination("delayed").await;
    fixture.owner.set_delay(&destination, DELAY).await;
    let (mut publisher, _) = fixture.live().await;
    fixture.wait_for_relay(&destination, Broadcasting).await;
    fixture.wait_for_more_bytes(&platform).await;

    publisher.end().await.unwrap();
    fixture.wait_for_stream(pb::StreamState::Ended).await;
    if restarts_control_plane {
        fixture.kill_control_plane().await;
        fixture.restart_control_plane().await;
    }
    fixture.wait_for_relay(&destination, Idle).await;
    let states = fixture.owner.relay_states(&destination).await;
    assert!(states.contains(&Draining), "{states:?}");
    assert_eq!(platform.publishes(), 1);
    platform.assert_continuous().await.unwrap();
    let (all, arrived) = (direct.seconds().await, platform.seconds().await);
    let (all, arrived) = (all.unwrap(), arrived.unwrap());
    assert!(arrived > all - MAX_DIFFERENCE, "{arrived} s of {all} s");
    fixture.end().await;
}

#[tokio::test]
async fn the_owner_can_keep_back_what_is_held_back() {
    let fixture = Fixture::start().await;
    let (platform, destination) = fixture.destination("delayed").await;
    fixture.owner.set_delay(&destination, DELAY * 6).await;
    let (mut publisher, _) = fixture.live().await;
    publisher.end().await.unwrap();
    fixture.wait_for_relay(&destination, Draining).await;

    fixture.owner.stop_stream(Duration::ZERO).await;
    fixture.wait_for_relay(&destination, Idle).await;
    assert_eq!(platform.recorded(), 0);
    fixture.end().await;
}
