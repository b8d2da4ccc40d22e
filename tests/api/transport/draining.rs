use std::time::{Duration, Instant};

use rstest::rstest;

use super::{
    http2_connection::{ConnectionEnd, Http2Connection},
    http2_frames::{END_HEADERS, HEADERS, PUBLIC_RPC, client_preface, frame, headers},
};
use crate::{
    harness::{Engine, Postgres, Sqlite, Watcher},
    stream::fixture::Fixture,
};

#[rstest]
#[tokio::test]
async fn silent_peers_do_not_delay_a_drain(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Fixture::start_with(engine, &["--drain-timeout=2s"]).await;
    let address = scene.server.address;
    let (_, mut watcher) = Watcher::start_synced(&scene.owner.client, &scene.project_id).await;
    let pending = Http2Connection::connect(address).await;
    let mut partial_preface = Http2Connection::connect(address).await;
    partial_preface.send(&client_preface()[..12]).await.unwrap();
    let silent = Http2Connection::with_preface(address).await;
    let mut unfinished = Http2Connection::with_preface(address).await;
    let call = frame(HEADERS, END_HEADERS, 1, &headers(PUBLIC_RPC));
    unfinished.send(&call).await.unwrap();

    let begun = Instant::now();
    let (_, ended) = tokio::join!(scene.server.stop(), watcher.wait_for_end());

    assert_eq!(ended.0.reason, "DRAINING");
    // The drain timeout, and the time to close the rest.
    assert!(begun.elapsed() < Duration::from_secs(20));
    for raw in [pending, partial_preface] {
        assert_eq!(raw.closed().await, ConnectionEnd::default());
    }
    for raw in [silent, unfinished] {
        assert_eq!(raw.closed().await.goaways[0], 0);
    }
}

#[tokio::test]
async fn a_drain_closes_pending_handshakes_at_once() {
    let scene = Fixture::start_with(Sqlite, &["--drain-timeout=10min"]).await;
    let mut pending = Vec::new();
    for _ in 0..10 {
        pending.push(Http2Connection::connect(scene.server.address).await);
    }

    // The harness fails after 30 seconds.
    scene.server.stop().await;

    for raw in pending {
        assert_eq!(raw.closed().await, ConnectionEnd::default());
    }
}
