//! Guarantees for media servers.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{CONTINUE, Fixture, instruction};
use crate::harness::{Engine, Postgres, Sqlite};

/// Predecessor's defect G19: a busy media server was locked out after 50 requests in 15 minutes.
#[rstest]
#[tokio::test]
async fn a_busy_media_server_is_never_rate_limited(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;

    for _ in 0..300 {
        assert_eq!(
            instruction(&fixture.node.heartbeat(&live, "a").await),
            CONTINUE
        );
    }
}

/// Predecessor's defect G3: the play URL contained the stream key, so that every viewer could
/// publish.
#[rstest]
#[tokio::test]
async fn no_view_of_a_stream_or_project_contains_the_stream_key(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;

    let request = pb::ListStreamsRequest {
        project_id: fixture.project_id.clone(),
        ..Default::default()
    };
    let mut client = fixture.owner.client.stream.clone();
    let listed = client.list_streams(request).await.unwrap().into_inner();
    let shown = format!("{live:?} {listed:?} {:?}", fixture.project().await);

    let secret = fixture.key.strip_prefix("sk_").unwrap();
    assert!(shown.contains(&live.id));
    assert!(!shown.contains(secret));
}
