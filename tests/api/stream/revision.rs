use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{Scene, bytes};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite};

#[rstest]
#[tokio::test]
async fn the_project_names_its_stream_until_it_ends(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::with_window(engine, &[]).await;
    assert_eq!(scene.project().await.live_stream_id, "");

    let begun = scene.begun("a").await;
    assert_eq!(scene.project().await.live_stream_id, begun.id);
    let live = scene.node.heartbeat(&begun, "a").await.stream.unwrap();
    assert_eq!(scene.project().await.live_stream_id, begun.id);
    let waiting = scene.node.end(&live, "a").await;
    assert_eq!(waiting.status(), pb::StreamStatus::Reconnecting);
    assert_eq!(scene.project().await.live_stream_id, begun.id);
    scene.stop(&begun, 0).await;
    assert_eq!(scene.project().await.live_stream_id, "");
}

#[rstest]
#[tokio::test]
async fn the_revision_grows_with_changes_and_not_with_repetitions(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let connection = || MediaServer::connection("a");
    let created = scene.project().await.revision;
    let grown = async || scene.project().await.revision - created;

    let stream = scene.begun("a").await;
    assert_eq!(grown().await, 1, "begun");
    scene.begun("a").await;
    scene.node.begin(&scene.key, "b").await.unwrap_err();
    scene.heartbeat_of(&stream, connection(), bytes(0)).await;
    scene.heartbeat_of(&stream, connection(), bytes(0)).await;
    assert_eq!(grown().await, 1, "nothing new");
    scene.node.heartbeat(&stream, "a").await;
    assert_eq!(grown().await, 2, "live");
    scene.node.heartbeat(&stream, "a").await;
    scene.heartbeat_of(&stream, connection(), bytes(9)).await;
    scene.heartbeat_of(&stream, connection(), bytes(0)).await;
    scene.node.heartbeat(&stream, "b").await;
    scene.node.end(&stream, "b").await;
    scene.begun("a").await;
    assert_eq!(grown().await, 2, "still live");
    scene.node.end(&stream, "a").await;
    assert_eq!(grown().await, 3, "ended");
    scene.node.end(&stream, "a").await;
    scene.node.heartbeat(&stream, "a").await;
    assert_eq!(grown().await, 3, "still ended");
}
