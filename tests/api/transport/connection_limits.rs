use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    http2_connection::{ConnectionEnd, Http2Connection},
    http2_frames::client_preface,
};
use crate::harness::{Sqlite, TestServer, eventually};

async fn call(server: &TestServer) {
    let answer = server
        .anonymous()
        .auth
        .get_jwks(pb::GetJwksRequest {})
        .await;
    answer.unwrap();
}

#[rstest]
#[case::total("--max-connections=8", 7)]
#[case::per_address("--max-address-connections=4", 3)]
#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once_until_others_end(
    #[case] flag: &str,
    #[case] others: usize,
) {
    let server = TestServer::start_with(Sqlite, &[flag]).await;
    let mut held = Vec::new();
    for _ in 0..others {
        held.push(Http2Connection::with_preface(server.address).await);
    }

    let over = Http2Connection::connect(server.address).await;
    assert_eq!(over.closed().await, ConnectionEnd::default());
    call(&server).await;

    held.pop();
    eventually("a permit is free again", async || {
        let mut raw = Http2Connection::connect(server.address).await;
        raw.send(&client_preface()).await.ok()?;
        raw.next().await
    })
    .await;
}

#[tokio::test]
async fn the_connections_of_a_trusted_proxy_are_not_counted_by_address() {
    let flags = ["--max-address-connections=1", "--trusted-proxies=127.0.0.1"];
    let server = TestServer::start_with(Sqlite, &flags).await;

    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(Http2Connection::with_preface(server.address).await);
    }
    call(&server).await;
}

#[tokio::test]
async fn pending_handshakes_do_not_exhaust_the_connection_limit() {
    // Two of these may be pending handshakes.
    let flags = ["--max-connections=8", "--handshake-timeout=5min"];
    let server = TestServer::start_with(Sqlite, &flags).await;

    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(Http2Connection::connect(server.address).await);
    }
    // Later connections evicted them.
    for raw in silent.drain(..6) {
        assert_eq!(raw.closed().await, ConnectionEnd::default());
    }
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(Http2Connection::with_preface(server.address).await);
    }
    call(&server).await;
}
