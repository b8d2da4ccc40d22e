//! What media servers may rely on.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{CONTINUE, Scene, told};
use crate::harness::{Engine, Postgres, Sqlite};

/// Predecessor's defect G19: 50 requests in 15 minutes, and a busy media server was locked out.
#[rstest]
#[tokio::test]
async fn a_busy_media_server_is_never_turned_away(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let live = scene.node.live(&scene.key, "a").await;

    for _ in 0..300 {
        assert_eq!(told(&scene.node.heartbeat(&live, "a").await), CONTINUE);
    }
}

/// Predecessor's defect G3: the stream key was the address to watch at, so whoever
/// could watch could publish.
#[rstest]
#[tokio::test]
async fn nothing_that_is_shown_of_a_stream_or_a_project_holds_the_stream_key(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let live = scene.node.live(&scene.key, "a").await;

    let request = pb::ListStreamsRequest {
        project_id: scene.project_id.clone(),
        ..Default::default()
    };
    let mut client = scene.owner.client.stream.clone();
    let listed = client.list_streams(request).await.unwrap().into_inner();
    let shown = format!("{live:?} {listed:?} {:?}", scene.project().await);

    let secret = scene.key.strip_prefix("sk_").unwrap();
    assert!(shown.contains(&live.id));
    assert!(!shown.contains(secret));
}
