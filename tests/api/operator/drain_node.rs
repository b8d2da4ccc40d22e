//! DrainNode and ResumeNode. What they do to relays is in `relay::moves`.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status};

use super::fixture::Fixture;
use crate::harness::{Engine, Postgres, Sqlite, refused};

async fn drain(
    fixture: &Fixture,
    node_id: &str,
) -> Result<Response<pb::DrainNodeResponse>, Status> {
    let request = pb::DrainNodeRequest {
        node_id: node_id.to_owned(),
    };
    fixture.operator.operator.clone().drain_node(request).await
}

async fn resume(
    fixture: &Fixture,
    node_id: &str,
) -> Result<Response<pb::ResumeNodeResponse>, Status> {
    let request = pb::ResumeNodeRequest {
        node_id: node_id.to_owned(),
    };
    fixture.operator.operator.clone().resume_node(request).await
}

/// A server with the node `n1`, which has a live stream.
async fn start(engine: Engine) -> Fixture {
    let fixture = Fixture::start(engine).await;
    let (_, key) = fixture.server.user().await.project().await;
    fixture.server.media_server().await.live(&key, "c1").await;
    fixture
}

#[rstest]
#[tokio::test]
async fn a_node_drains_until_it_is_resumed_and_each_change_is_audited_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = start(engine).await;

    let drained = drain(&fixture, "n1").await.unwrap().into_inner().node;
    let drained = drained.unwrap();
    assert_eq!((&*drained.node_id, drained.live_stream_count), ("n1", 1));
    assert!(drained.drain_time.is_some());
    let again = drain(&fixture, "n1").await.unwrap().into_inner().node;
    assert_eq!(again.unwrap().drain_time, drained.drain_time);
    let request = pb::ListNodesRequest::default();
    let mut operator = fixture.operator.operator.clone();
    let listed = operator.list_nodes(request).await.unwrap().into_inner();
    assert_eq!(listed.nodes[0].drain_time, drained.drain_time);

    for _ in 0..2 {
        let resumed = resume(&fixture, "n1").await.unwrap().into_inner().node;
        assert_eq!(resumed.unwrap().drain_time, None);
    }

    let request = pb::OperatorServiceListAuditEventsRequest {
        operator_key_id: fixture.key_id.clone(),
        ..Default::default()
    };
    let events = fixture.events(request).await;
    let actions = events
        .iter()
        .map(|one| &*one.event.as_ref().unwrap().action);
    assert_eq!(actions.collect::<Vec<_>>(), ["ResumeNode", "DrainNode"]);
}

#[rstest]
#[tokio::test]
async fn an_unknown_node_and_an_invalid_id_are_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = start(engine).await;
    for refusal in [
        refused(drain(&fixture, "n2").await),
        refused(resume(&fixture, "n2").await),
    ] {
        assert_eq!(refusal.code, Code::NotFound);
        assert_eq!(refusal.reason, "RESOURCE_NOT_FOUND");
    }
    for invalid in ["", "a b", &"n".repeat(129)] {
        for refusal in [
            refused(drain(&fixture, invalid).await),
            refused(resume(&fixture, invalid).await),
        ] {
            assert_eq!(refusal.code, Code::InvalidArgument);
            assert_eq!(refusal.fields(), ["node_id"]);
        }
    }
}
