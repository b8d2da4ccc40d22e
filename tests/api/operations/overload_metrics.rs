use std::net::{IpAddr, Ipv4Addr};

use sluice::proto::v1 as pb;
use tonic::Code;

use super::scrape::Scrape;
use crate::{
    harness::{OpenCall, Process, RawConnection, Sqlite, TestDatabase, connect_from, eventually},
    transport::{
        http2_connection::Http2Connection,
        http2_frames::{DATA, END_HEADERS, END_STREAM, HEADERS, client_preface, frame, headers},
    },
};

const JWKS: &str = "sluice.v1.AuthService/GetJwks";

/// Begins requests that stay incomplete.
async fn begin(raw: &mut RawConnection, address: &str, count: usize) -> Vec<OpenCall> {
    let mut calls = Vec::new();
    for _ in 0..count {
        calls.push(raw.begin(JWKS, &[("x-forwarded-for", address)]).await);
    }
    calls
}

/// Waits until the server has so many incomplete requests.
async fn wait_for_incomplete(program: &Process, count: f64) {
    eventually("the server has seen the requests", async || {
        let scrape = Scrape::of(program).await;
        (scrape.value("sluice_incomplete_requests", &[]) == Some(count)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_limit_shows_its_use_and_its_refusals_and_an_overloaded_server_stays_ready() {
    let database = TestDatabase::create(Sqlite).await;
    // 128 incomplete requests: 112 for everybody, 16 of each address.
    let settings = [
        ("SLUICE_MAX_CALLS", "8"),
        ("SLUICE_TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let program = Process::serve(&database, &settings);
    program.channel().await;
    let address = program.address().await.parse().unwrap();
    let mut raw = RawConnection::to(address).await;
    let refusals = |scrape: &Scrape, of: &str| {
        let labels = [r#"limit="incomplete_requests""#, of];
        scrape.value("sluice_limit_refusals_total", &labels)
    };

    let _calls = begin(&mut raw, "198.51.100.1", 16).await;
    wait_for_incomplete(&program, 16.0).await;
    let refused = begin(&mut raw, "198.51.100.1", 1).await.remove(0);
    assert_eq!(refused.status().await.code(), Code::ResourceExhausted);
    let scrape = Scrape::of(&program).await;
    assert_eq!(refusals(&scrape, r#"of="address""#), Some(1.0));
    assert_eq!(scrape.value("sluice_incomplete_requests", &[]), Some(16.0));
    assert_eq!(
        scrape.value("sluice_incomplete_requests_limit", &[]),
        Some(128.0)
    );
    assert_eq!(
        scrape.value("sluice_call_memory_limit_bytes", &[]),
        Some(67_108_864.0)
    );
    assert_eq!(
        scrape.value("sluice_anonymous_streams_limit", &[]),
        Some(128.0)
    );
    assert_eq!(scrape.value("sluice_overloaded", &[]), Some(0.0));

    let mut others = Vec::new();
    for number in 2..=7 {
        let from = format!("198.51.100.{number}");
        let mut raw = RawConnection::to(address).await;
        let calls = begin(&mut raw, &from, 16).await;
        others.push((raw, calls));
    }
    wait_for_incomplete(&program, 112.0).await;
    let refused = begin(&mut raw, "198.51.100.8", 1).await.remove(0);
    assert_eq!(refused.status().await.code(), Code::ResourceExhausted);
    let scrape = Scrape::of(&program).await;
    assert_eq!(refusals(&scrape, r#"of="total""#), Some(1.0));
    assert_eq!(scrape.value("sluice_calls_shed_total", &[]), Some(2.0));
    assert_eq!(scrape.value("sluice_overloaded", &[]), Some(1.0));

    let ready = program.operations("GET", "/readyz", "").await;
    assert_eq!(ready.status, 200);
    let answer = raw.call(JWKS, &[], &pb::GetJwksRequest {}).await;
    assert_eq!(answer.code(), Code::Ok);
}

#[tokio::test]
async fn calls_above_the_limit_of_their_connection_are_counted_and_are_no_overload() {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [
        ("SLUICE_MAX_CONNECTION_CALLS", "4"),
        ("SLUICE_MAX_USER_WATCHES", "3"),
    ];
    let program = Process::serve(&database, &settings);
    program.channel().await;
    let address = program.address().await.parse().unwrap();
    let mut raw = RawConnection::to(address).await;

    let _calls = begin(&mut raw, "198.51.100.1", 4).await;
    wait_for_incomplete(&program, 4.0).await;
    let refused = raw.call(JWKS, &[], &pb::GetJwksRequest {}).await;
    assert_eq!(refused.code(), Code::ResourceExhausted);

    let scrape = Scrape::of(&program).await;
    let labels = [r#"limit="connection_calls""#, r#"of="connection""#];
    let refusals = scrape.value("sluice_limit_refusals_total", &labels);
    assert_eq!(refusals, Some(1.0));
    assert_eq!(scrape.value("sluice_calls_shed_total", &[]), Some(0.0));
    assert_eq!(scrape.value("sluice_overloaded", &[]), Some(0.0));
}

#[tokio::test]
async fn a_response_that_is_not_read_and_its_closed_connection_are_counted() {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [("SLUICE_RESPONSE_READ_TIMEOUT", "300ms")];
    let program = Process::serve(&database, &settings);
    program.channel().await;
    let address = program.address().await.parse().unwrap();
    let mut raw = RawConnection::with_window(address, 0).await;

    let call = raw.begin(JWKS, &[]).await;
    let _unread = call.send_message(&pb::GetJwksRequest {}).response().await;
    raw.closed().await;

    eventually("both are counted", async || {
        let scrape = Scrape::of(&program).await;
        let unread = scrape.value("sluice_responses_unread_total", &[]);
        let closed = scrape.value("sluice_connections_refused_total", &[r#"cause="unread""#]);
        (unread == Some(1.0) && closed == Some(1.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_that_are_anonymous_unused_or_misused_are_counted_by_their_cause() {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [
        ("SLUICE_MAX_ANONYMOUS_CONNECTIONS", "2"),
        ("SLUICE_UNUSED_CONNECTION_TIMEOUT", "2s"),
    ];
    let program = Process::serve(&database, &settings);
    program.channel().await;
    let address = program.address().await.parse().unwrap();
    let from = |last| connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), address);

    let mut misused = Http2Connection {
        stream: from(3).await,
    };
    let watch = |number: u32| {
        let head = headers("/grpc.health.v1.Health/Watch");
        let head = frame(HEADERS, END_HEADERS, 2 * number + 1, &head);
        [head, frame(DATA, END_STREAM, 2 * number + 1, &[0; 5])].concat()
    };
    let watches = client_preface().into_iter().chain((0..100).flat_map(watch));
    misused.send(&watches.collect::<Vec<u8>>()).await.unwrap();
    misused.closed().await;
    let mut unused = Vec::new();
    for _ in 0..3 {
        let mut raw = Http2Connection {
            stream: from(2).await,
        };
        // The one above the limit may be closed already.
        let _ = raw.send(&client_preface()).await;
        unused.push(raw);
    }
    for raw in unused {
        raw.closed().await;
    }

    eventually("each is counted", async || {
        let scrape = Scrape::of(&program).await;
        let closed = |cause: &str| {
            let cause = format!("cause=\"{cause}\"");
            scrape.value("sluice_connections_refused_total", &[&cause])
        };
        let counted = ["misuse", "anonymous", "unused"].map(closed);
        (counted == [Some(1.0), Some(1.0), Some(2.0)]).then_some(())
    })
    .await;
}
