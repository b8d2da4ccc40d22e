use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    http2_connection::{ConnectionEnd, Http2Connection},
    http2_frames::client_preface,
};
use crate::harness::{Sqlite, TestServer, connect_from, eventually};

/// Addresses of this machine that the other callers of a test do not have.
const FAST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const SLOW: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

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
#[case::anonymous("--max-anonymous-connections=4", 3)]
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
    let flags = [
        "--max-address-connections=1",
        "--max-anonymous-connections=1",
        "--address-connection-rate=1",
        "--address-connection-burst=1",
        "--trusted-proxies=127.0.0.1",
    ];
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

/// Opens a connection from an address; sends the preface.
async fn open_from(from: IpAddr, address: SocketAddr) -> Http2Connection {
    let stream = connect_from(from, address).await;
    let mut raw = Http2Connection { stream };
    raw.send(&client_preface()).await.unwrap();
    raw
}

/// Opens a connection, if the server serves it.
async fn try_open(server: &TestServer) -> Option<Http2Connection> {
    let mut raw = Http2Connection::connect(server.address).await;
    raw.send(&client_preface()).await.ok()?;
    raw.next().await.map(|_| raw)
}

#[tokio::test]
async fn a_connection_with_a_valid_token_makes_room_for_an_anonymous_one() {
    let flags = ["--max-anonymous-connections=2"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let _anonymous = Http2Connection::with_preface(server.address).await;
    let over = Http2Connection::connect(server.address).await;
    assert_eq!(over.closed().await, ConnectionEnd::default());

    // A forged token does not count.
    let forged = crate::harness::Client::with_token(&server.channel, "forged");
    forged
        .auth
        .clone()
        .get_me(pb::GetMeRequest {})
        .await
        .unwrap_err();
    let over = Http2Connection::connect(server.address).await;
    assert_eq!(over.closed().await, ConnectionEnd::default());

    let ada = server.user().await;
    ada.client
        .auth
        .clone()
        .get_me(pb::GetMeRequest {})
        .await
        .unwrap();
    let _second = eventually("there is room", async || try_open(&server).await).await;
    let over = Http2Connection::connect(server.address).await;
    assert_eq!(over.closed().await, ConnectionEnd::default());
}

#[tokio::test]
async fn an_address_where_a_media_server_has_authenticated_may_open_any_number_at_any_pace() {
    let flags = [
        "--max-anonymous-connections=1",
        "--address-connection-rate=1",
        "--address-connection-burst=1",
    ];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let media = server.media_server().await;
    let request = pb::BeginPublishRequest::default();
    let refused = media.client.stream.clone().begin_publish(request).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);

    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(open_from(Ipv4Addr::LOCALHOST.into(), server.address).await);
    }
    let begun = Instant::now();
    for raw in &mut held {
        raw.next().await.expect("its SETTINGS");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(50),
        "one after the other"
    );
}

#[tokio::test]
async fn connections_of_an_address_that_opens_them_too_fast_wait_for_their_turn_or_are_refused() {
    let flags = [
        "--address-connection-rate=1",
        "--address-connection-burst=2",
    ];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let begun = Instant::now();
    let mut fast = Vec::new();
    for _ in 0..60 {
        fast.push(open_from(FAST, server.address).await);
    }

    let mut slow = open_from(SLOW, server.address).await;
    slow.next().await.expect("its SETTINGS");
    call(&server).await;

    let mut served = 0;
    for raw in &mut fast {
        served += u64::from(raw.next().await.is_some());
    }
    // One waits for at most a second, and time goes on.
    let most = 3 + begun.elapsed().as_secs();
    assert!((2..=most).contains(&served), "{served}, not 2 to {most}");
}
