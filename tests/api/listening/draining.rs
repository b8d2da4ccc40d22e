use std::time::{Duration, Instant};

use rstest::rstest;

use super::{
    frames::{END_HEADERS, HEADERS, OPEN, frame, headers, hello},
    raw::{Ending, Raw},
};
use crate::{
    harness::{Engine, Postgres, Sqlite, Watcher},
    stream::fixture::Fixture,
};

#[rstest]
#[tokio::test]
async fn peers_that_say_nothing_do_not_keep_a_server_that_drains(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Fixture::start_with(engine, &["--drain-timeout=2s"]).await;
    let address = scene.server.address;
    let (_, mut watcher) = Watcher::synced(&scene.owner.client, &scene.project_id).await;
    let half_open = Raw::connect(address).await;
    let mut half_greeted = Raw::connect(address).await;
    half_greeted.send(&hello()[..12]).await.unwrap();
    let silent = Raw::greeted(address).await;
    let mut unfinished = Raw::greeted(address).await;
    let call = frame(HEADERS, END_HEADERS, 1, &headers(OPEN));
    unfinished.send(&call).await.unwrap();

    let begun = Instant::now();
    let (_, ended) = tokio::join!(scene.server.stop(), watcher.ended());

    assert_eq!(ended.0.reason, "DRAINING");
    // The timeout, and what it takes to close the rest.
    assert!(begun.elapsed() < Duration::from_secs(10));
    for raw in [half_open, half_greeted] {
        assert_eq!(raw.ended().await, Ending::default());
    }
    for raw in [silent, unfinished] {
        assert_eq!(raw.ended().await.farewells[0], 0);
    }
}

#[rstest]
#[tokio::test]
async fn a_server_whose_peers_are_all_in_their_handshakes_stops_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Fixture::start_with(engine, &["--drain-timeout=10min"]).await;
    let mut half_open = Vec::new();
    for _ in 0..10 {
        half_open.push(Raw::connect(scene.server.address).await);
    }

    // The harness gives it 30 seconds.
    scene.server.stop().await;

    for raw in half_open {
        assert_eq!(raw.ended().await, Ending::default());
    }
}
