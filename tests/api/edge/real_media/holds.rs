//! The outage policy HOLD between real programs: destinations keep their connection.

use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::time::sleep;

use super::{Fixture, wait_for};
use crate::edge::media::Destination;

const BROADCASTING: pb::RelayState = pb::RelayState::Broadcasting;
const HOLDING: pb::RelayState = pb::RelayState::Holding;

const WINDOW: Duration = Duration::from_secs(300);

/// A stream that is broadcast to a destination, in a project that holds.
struct Show {
    fixture: Fixture,
    publisher: crate::edge::media::Publisher,
    stream: pb::Stream,
    platform: Destination,
    destination: pb::Destination,
}

impl Show {
    async fn start(window: Duration) -> Self {
        let fixture = Fixture::with_window(window).await;
        let hold = pb::UpdateProjectRequest {
            project_id: fixture.owner.project.id.clone(),
            publish_conflict_policy: Some(pb::PublishConflictPolicy::Takeover.into()),
            outage_policy: Some(pb::OutagePolicy::Hold.into()),
            ..Default::default()
        };
        fixture.owner.update_project(hold).await;
        let (platform, destination) = fixture.destination("platform").await;
        let (publisher, stream) = fixture.live().await;
        let show = Self {
            fixture,
            publisher,
            stream,
            platform,
            destination,
        };
        show.broadcasts().await;
        show
    }

    async fn broadcasts(&self) {
        self.fixture
            .wait_for_relay(&self.destination, BROADCASTING)
            .await;
        self.fixture.wait_for_more_bytes(&self.platform).await;
    }

    /// Waits until the relay holds. Meanwhile the platform receives bytes.
    async fn is_held(&self) {
        self.fixture
            .wait_for_relay(&self.destination, HOLDING)
            .await;
        self.fixture.wait_for_more_bytes(&self.platform).await;
    }

    /// Waits until the stream is at an epoch, and ends the fixture. All media is one recording
    /// that can be decoded.
    async fn ends_after(self, publishes: i64) {
        let stream = self.fixture.wait_for_stream(pb::StreamState::Live).await;
        assert_eq!((&stream.id, stream.epoch), (&self.stream.id, publishes));
        self.broadcasts().await;
        self.fixture.owner.stop_relay(&self.destination).await;
        self.fixture
            .wait_for_relay(&self.destination, pb::RelayState::Idle)
            .await;
        assert_eq!(self.platform.publishes(), 1);
        self.platform.assert_continuous().await.unwrap();
        self.fixture.end().await;
    }
}

#[tokio::test]
async fn a_publisher_that_goes_and_returns_is_bridged_on_one_connection() {
    let mut show = Show::start(WINDOW).await;
    for _ in 0..2 {
        show.publisher.kill().await.unwrap();
        show.fixture
            .wait_for_stream(pb::StreamState::Reconnecting)
            .await;
        show.is_held().await;
        show.publisher = show.fixture.publish();
        show.fixture.wait_for_stream(pb::StreamState::Live).await;
        show.broadcasts().await;
    }
    show.ends_after(3).await;
}

#[tokio::test]
async fn a_restart_of_nginx_is_bridged_on_one_connection() {
    let mut show = Show::start(WINDOW).await;
    show.fixture.nginx.kill().await.unwrap();
    show.is_held().await;
    show.fixture.nginx.start_again().await.unwrap();
    show.fixture
        .wait_for_stream(pb::StreamState::Reconnecting)
        .await;
    show.publisher = show.fixture.publish();
    show.ends_after(2).await;
}

#[tokio::test]
async fn a_restart_of_the_control_plane_during_a_hold_is_bridged_on_one_connection() {
    let mut show = Show::start(WINDOW).await;
    show.publisher.kill().await.unwrap();
    show.fixture
        .wait_for_stream(pb::StreamState::Reconnecting)
        .await;
    show.is_held().await;
    show.fixture.kill_control_plane().await;
    show.fixture.wait_for_more_bytes(&show.platform).await;
    sleep(Duration::from_secs(5)).await;
    show.fixture.restart_control_plane().await;
    show.is_held().await;
    show.publisher = show.fixture.publish();
    show.ends_after(2).await;
}

#[tokio::test]
async fn a_takeover_by_another_publisher_is_bridged_on_one_connection() {
    let mut show = Show::start(WINDOW).await;
    let second = show.fixture.publish();
    let mut first = std::mem::replace(&mut show.publisher, second);
    wait_for("the first publisher is disconnected", async || {
        first.ended()
    })
    .await;
    show.ends_after(2).await;
}

#[tokio::test]
async fn the_end_of_the_window_ends_a_hold_and_the_connection() {
    // HOLDING itself may be over before a busy machine has reported it.
    let mut show = Show::start(Duration::from_secs(8)).await;
    show.publisher.kill().await.unwrap();
    let ended = show.fixture.wait_for_stream(pb::StreamState::Ended).await;
    assert_eq!(ended.end_reason(), pb::EndReason::ReconnectTimeout);
    show.fixture
        .wait_for_relay(&show.destination, pb::RelayState::Idle)
        .await;
    assert_eq!(show.platform.publishes(), 1);
    show.platform.assert_continuous().await.unwrap();
    show.fixture.end().await;
}

#[tokio::test]
async fn stopping_the_stream_ends_a_hold() {
    let mut show = Show::start(WINDOW).await;
    show.publisher.kill().await.unwrap();
    show.fixture
        .wait_for_stream(pb::StreamState::Reconnecting)
        .await;
    show.is_held().await;
    show.fixture.owner.stop_stream(Duration::ZERO).await;
    show.fixture
        .wait_for_relay(&show.destination, pb::RelayState::Idle)
        .await;
    assert_eq!(show.platform.publishes(), 1);
    show.platform.assert_continuous().await.unwrap();
    show.fixture.end().await;
}
