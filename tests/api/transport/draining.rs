use std::time::{Duration, Instant};

use rstest::rstest;

use super::{
    http2_connection::{Ending, Raw},
    http2_frames::{END_HEADERS, HEADERS, OPEN, frame, headers, hello},
};
use crate::{
    harness::{Engine, Postgres, Sqlite, Watcher},
    stream::scene::Scene,
};

#[rstest]
#[tokio::test]
async fn silent_peers_do_not_delay_a_drain(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start_with(engine, &["--drain-timeout=2s"]).await;
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

#[tokio::test]
async fn a_drain_closes_pending_handshakes_at_once() {
    let scene = Scene::start_with(Sqlite, &["--drain-timeout=10min"]).await;
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
