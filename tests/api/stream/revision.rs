use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    changes::rename,
    fixture::{Fixture, stats_with_bytes},
};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, Watcher};

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
    assert_eq!(waiting.state(), pb::StreamState::Reconnecting);
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

/// A call that waited for another one has an earlier time, but a later revision.
#[rstest]
#[tokio::test]
async fn the_time_of_an_event_is_never_before_that_of_the_previous_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let created = fixture.project().await.revision;
    let later = "update events set create_time = '2100-01-01T00:00:00+00:00'";
    fixture.server.database.execute(later).await;

    rename(owner, id, "Renamed").await;
    fixture.begin_live_stream("a").await;

    let mut watcher = Watcher::resume(owner, id, created).await.unwrap();
    for _ in 0..2 {
        let time = watcher.next().await.create_time.unwrap();
        assert_eq!(time.seconds, 4_102_444_800);
    }
}
