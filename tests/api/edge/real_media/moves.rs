//! A relay with real media that moves away from an edge.

use sluice::proto::v1 as pb;

use super::{Fixture, wait_for};
use crate::relay::fixture::{Worker, broadcasting_report};

#[tokio::test]
async fn an_edge_sends_until_the_next_worker_does_where_two_connections_are_permitted() {
    let fixture = Fixture::start().await;
    let (platform, destination) = fixture.destination("platform").await;
    fixture.owner.allow_second_connection(&destination).await;
    let (_publisher, stream) = fixture.live().await;
    fixture
        .wait_for_relay(&destination, pb::RelayState::Broadcasting)
        .await;
    let operator = fixture.operator().await;
    let mut next = Worker::claim(&operator, "next", "", 10).await;

    let request = pb::DrainNodeRequest {
        node_id: stream.publisher.unwrap().node_id,
    };
    operator.operator.clone().drain_node(request).await.unwrap();
    let assigned = next.next_assignments(1).await.remove(0);
    assert!(assigned.input_url.starts_with("rtmp://"));

    // The edge goes on although the relay is at the next worker.
    fixture.wait_for_more_bytes(&platform).await;
    fixture.wait_for_more_bytes(&platform).await;
    assert_eq!(platform.publishes(), 1);
    next.expect_accepted(broadcasting_report(&assigned, 1))
        .await;

    wait_for("the edge stops", async || {
        let before = platform.recorded();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        (platform.recorded() == before).then_some(())
    })
    .await;
    let relay = fixture.owner.relay(&destination).await.unwrap();
    assert_eq!(
        (&*relay.worker_id, relay.state()),
        ("next", pb::RelayState::Broadcasting)
    );
    assert_eq!((relay.attempt, relay.error), (0, None));
    fixture.end().await;
}
