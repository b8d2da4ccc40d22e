use std::{
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rstest::rstest;
use sluice::{
    layers,
    proto::v1 as pb,
    transport::{ConnectionMetrics, ConnectionTimeouts, Listener},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, service::Routes};

use super::{
    http2_connection::{ConnectionEnd, Http2Connection},
    http2_frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PROTECTED_RPC, PUBLIC_RPC,
        client_preface, frame, headers,
    },
};
use crate::{
    harness::{Client, Engine, Postgres, Sqlite, TestServer, Watcher, settings},
    stream::{changes::rename, fixture::Fixture},
};

const DRAINING: (Code, &str) = (Code::Unavailable, "DRAINING");

#[rstest]
#[tokio::test]
async fn a_watch_ends_at_the_maximum_connection_age_and_resumes_on_another_connection(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Fixture::start_with(engine, &["--connection-age=3s"]).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;

    for round in 0..3 {
        let (refusal, last) = watcher.wait_for_end().await;
        assert_eq!((refusal.class(), last), (DRAINING, watcher.revision));

        let revision = rename(owner, id, &format!("Show {round}")).await;
        watcher = Watcher::resume(owner, id, last).await.unwrap();
        watcher.read_until(revision).await;
    }
}

#[rstest]
#[tokio::test]
async fn no_call_fails_when_connections_reach_their_maximum_age(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let Fixture {
        server,
        owner,
        project_id,
        ..
    } = Fixture::start(engine).await;
    let database = server.stop().await;
    let server = TestServer::start_on(database, &["--connection-age=100ms"]).await;
    let client = Client::with_token(&server.channel, &owner.tokens.access_token);
    let begun = Instant::now();

    let mut calls = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let request = pb::GetProjectRequest {
            project_id: project_id.clone(),
            ..Default::default()
        };
        match client.project.clone().get_project(request).await {
            Ok(_) => calls += 1,
            // tonic's client had not sent the call; other clients use the next connection.
            Err(status) if status.code() == Code::Cancelled && status.source().is_some() => {}
            Err(status) => panic!("{status:?}"),
        }
    }
    assert!(calls > 20, "{calls}");
}

#[tokio::test]
async fn an_old_connection_is_closed_after_the_grace_period() {
    let flags = ["--connection-age=200ms", "--connection-grace=200ms"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let mut raw = Http2Connection::connect(server.address).await;

    // A call that never ends, from a peer that sends nothing more.
    let call = frame(HEADERS, END_HEADERS, 1, &headers(PUBLIC_RPC));
    raw.send(&[client_preface(), call].concat()).await.unwrap();

    assert_eq!(raw.closed().await.goaways[0], 0);
}

#[rstest]
#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_watch_is_not(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--connection-idle=300ms", "--connection-grace=100ms"];
    let scene = Fixture::start_with(engine, &flags).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;

    for _ in 0..3 {
        let idle = Http2Connection::with_preface(scene.server.address).await;
        assert_eq!(idle.closed().await.goaways[0], 0);
    }

    let revision = rename(owner, id, "Still watched").await;
    watcher.read_until(revision).await;
}

/// The frames of a call without a message of its own.
fn call(path: &str) -> Vec<u8> {
    let message = frame(DATA, END_STREAM, 1, &[0; 5]);
    [frame(HEADERS, END_HEADERS, 1, &headers(path)), message].concat()
}

#[rstest]
#[case::no_call(Vec::new())]
#[case::a_failed_call(call(PROTECTED_RPC))]
#[tokio::test]
async fn a_connection_on_which_no_call_succeeds_is_closed_early(#[case] bytes: Vec<u8>) {
    let flags = ["--unused-connection-timeout=10s"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let mut raw = Http2Connection::with_preface(server.address).await;
    raw.send(&bytes).await.unwrap();

    assert_eq!(raw.closed().await.goaways[0], 0);
}

#[tokio::test]
async fn a_connection_on_which_a_call_has_succeeded_stays_until_its_idle_timeout() {
    let server = TestServer::start_with(Sqlite, &["--unused-connection-timeout=10s"]).await;
    let mut raw = Http2Connection::with_preface(server.address).await;
    raw.send(&call(PUBLIC_RPC)).await.unwrap();
    raw.next_of_kind(HEADERS).await;

    tokio::time::sleep(Duration::from_secs(12)).await;
    raw.send(&frame(PING, 0, 0, &[7; 8])).await.unwrap();

    assert_eq!(raw.next_of_kind(PING).await.payload, [7; 8]);
}

#[tokio::test]
async fn an_unused_connection_of_a_trusted_proxy_stays() {
    let timeout = Duration::from_millis(300);
    let flags = [
        "--unused-connection-timeout=300ms",
        "--trusted-proxies=127.0.0.1",
    ];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let mut raw = Http2Connection::with_preface(server.address).await;

    tokio::time::sleep(3 * timeout).await;
    raw.send(&frame(PING, 0, 0, &[7; 8])).await.unwrap();

    assert_eq!(raw.next_of_kind(PING).await.payload, [7; 8]);
}

/// A listener without services, with other timeouts than the settings allow.
async fn listen(
    change: impl FnOnce(&mut ConnectionTimeouts),
) -> (SocketAddr, Arc<ConnectionMetrics>) {
    let settings = settings(&[]);
    let mut listener_settings = settings.listener();
    change(&mut listener_settings.timeouts);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Listener::new(vec![listener.into()], listener_settings).unwrap();
    let metrics = listener.metrics();
    let services = layers::stack(Routes::default(), Ok, &settings.layers());
    tokio::spawn(listener.serve(services, CancellationToken::new()));
    (address, metrics)
}

#[rstest]
#[case::frame_header(vec![0, 0])]
#[case::payload(frame(PING, 0, 0, &[0; 8])[..16].to_vec())]
#[case::header_block(frame(HEADERS, 0, 1, &headers(PUBLIC_RPC)))]
#[case::continued_header_block([
    frame(HEADERS, 0, 1, &headers(PUBLIC_RPC)),
    frame(CONTINUATION, 0, 1, &[]),
].concat())]
#[tokio::test]
async fn a_connection_is_closed_if_a_frame_or_a_header_block_is_not_completed(
    #[case] bytes: Vec<u8>,
) {
    let limit = Duration::from_millis(300);
    let (address, _) = listen(|timeouts| timeouts.frame = limit).await;
    let mut raw = Http2Connection::with_preface(address).await;
    // A complete frame starts no timer.
    tokio::time::sleep(2 * limit).await;
    raw.send(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
    raw.next_of_kind(PING).await;

    let begun = Instant::now();
    raw.send(&bytes).await.unwrap();

    assert_eq!(raw.closed().await.responses, 0);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[rstest]
#[tokio::test]
async fn a_connection_whose_peer_does_not_answer_keepalive_pings_is_closed() {
    let (address, metrics) = listen(|timeouts| {
        timeouts.keepalive_interval = Duration::from_millis(100);
        timeouts.keepalive_timeout = Duration::from_millis(100);
    })
    .await;

    let silent = Http2Connection::with_preface(address).await;

    assert_eq!(silent.closed().await.responses, 0);
    crate::harness::eventually("the connection is counted as closed", async || {
        ((metrics.accepted(), metrics.open()) == (1, 0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_handshake_times_out() {
    let scene = Fixture::start_with(Sqlite, &["--handshake-timeout=300ms"]).await;

    let mut slow = Http2Connection::connect(scene.server.address).await;
    for byte in &client_preface()[..20] {
        if slow.send(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    assert_eq!(slow.closed().await, ConnectionEnd::default());
    let answer = scene
        .server
        .anonymous()
        .auth
        .get_jwks(pb::GetJwksRequest {})
        .await;
    answer.unwrap();
}
