use rstest::rstest;
use sluice::proto::v1 as pb;

use super::http2_connection::{Ending, Raw};
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
#[case::of_all("--max-connections=8", 7)]
#[case::of_an_address("--max-address-connections=4", 3)]
#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once_until_others_end(
    #[case] flag: &str,
    #[case] others: usize,
) {
    let server = TestServer::start_with(Sqlite, &[flag]).await;
    let mut held = Vec::new();
    for _ in 0..others {
        held.push(Raw::greeted(server.address).await);
    }

    let over = Raw::connect(server.address).await;
    assert_eq!(over.ended().await, Ending::default());
    call(&server).await;

    held.pop();
    eventually("a place is free again", async || {
        let mut raw = Raw::connect(server.address).await;
        let hello = super::http2_frames::hello();
        raw.send(&hello).await.ok()?;
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
        held.push(Raw::greeted(server.address).await);
    }
    call(&server).await;
}

#[tokio::test]
async fn pending_handshakes_do_not_exhaust_the_connection_limit() {
    // Two of these may be half open.
    let flags = ["--max-connections=8", "--handshake-timeout=5min"];
    let server = TestServer::start_with(Sqlite, &flags).await;

    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(Raw::connect(server.address).await);
    }
    // Those who came later crowded them out.
    for raw in silent.drain(..6) {
        assert_eq!(raw.ended().await, Ending::default());
    }
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(Raw::greeted(server.address).await);
    }
    call(&server).await;
}
