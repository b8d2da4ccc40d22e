//! What a real edge does while its node drains.

use sluice::{domain::Scope, proto::v1 as pb};

use super::{relay_fixture::RelayFixture, stub_ffmpeg::wait_for_exit};

#[tokio::test]
async fn an_edge_whose_node_drains_gives_its_relays_to_a_worker_of_all_nodes() {
    let fixture = RelayFixture::start_with_lease("15s").await;
    let edge = fixture.edge(&[]);
    let (stream, _, pid) = fixture.running_relay().await;
    fixture
        .wait_for_state(&stream, pb::RelayState::Starting)
        .await;
    let control_plane = &fixture.control_plane;
    control_plane.backdate("claim_time").await;
    let mut next = control_plane.worker_with("next", "", 10).await;

    let request = pb::DrainNodeRequest {
        node_id: "n1".to_owned(),
    };
    let operator = control_plane.server.operator(&[Scope::OperatorWrite]).await;
    operator.operator.clone().drain_node(request).await.unwrap();

    let assigned = next.next_assignments(1).await.remove(0);
    assert_eq!(assigned.input_url, "rtmp://127.0.0.1:1/live/public-name");
    wait_for_exit(pid).await;
    let relay = control_plane.relay(&stream).await;
    assert_eq!(relay.worker_id, "next");
    assert_eq!(fixture.ffmpeg.pids(), [pid], "{}", edge.log());
}
