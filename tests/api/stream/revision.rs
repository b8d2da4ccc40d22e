use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{Fixture, stats_with_bytes};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite};

#[rstest]
#[tokio::test]
async fn the_project_shows_its_live_stream_until_it_ends(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    assert_eq!(fixture.project().await.live_stream_id, "");

    let begun = fixture.begin_stream("a").await;
    assert_eq!(fixture.project().await.live_stream_id, begun.id);
    let live = fixture.node.heartbeat(&begun, "a").await.stream.unwrap();
    assert_eq!(fixture.project().await.live_stream_id, begun.id);
    let waiting = fixture.node.end(&live, "a").await;
    assert_eq!(waiting.status(), pb::StreamStatus::Reconnecting);
    assert_eq!(fixture.project().await.live_stream_id, begun.id);
    fixture.stop(&begun, 0).await;
    assert_eq!(fixture.project().await.live_stream_id, "");
}

#[rstest]
#[tokio::test]
async fn the_revision_counts_changes_and_not_repetitions(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let connection = || MediaServer::connection("a");
    let created = fixture.project().await.revision;
    let grown = async || fixture.project().await.revision - created;

    let stream = fixture.begin_stream("a").await;
    assert_eq!(grown().await, 1, "begun");
    fixture.begin_stream("a").await;
    fixture.node.begin(&fixture.key, "b").await.unwrap_err();
    fixture
        .heartbeat_from(&stream, connection(), stats_with_bytes(0))
        .await;
    fixture
        .heartbeat_from(&stream, connection(), stats_with_bytes(0))
        .await;
    assert_eq!(grown().await, 1, "nothing new");
    fixture.node.heartbeat(&stream, "a").await;
    assert_eq!(grown().await, 2, "live");
    fixture.node.heartbeat(&stream, "a").await;
    fixture
        .heartbeat_from(&stream, connection(), stats_with_bytes(9))
        .await;
    fixture
        .heartbeat_from(&stream, connection(), stats_with_bytes(0))
        .await;
    fixture.node.heartbeat(&stream, "b").await;
    fixture.node.end(&stream, "b").await;
    fixture.begin_stream("a").await;
    assert_eq!(grown().await, 2, "still live");
    fixture.node.end(&stream, "a").await;
    assert_eq!(grown().await, 3, "ended");
    fixture.node.end(&stream, "a").await;
    fixture.node.heartbeat(&stream, "a").await;
    assert_eq!(grown().await, 3, "still ended");
}
