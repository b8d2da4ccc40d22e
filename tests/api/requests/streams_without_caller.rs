use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use h2::RecvStream;
use http::HeaderMap;
use tokio::time::timeout;
use tonic::{Code, Response, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
};

use crate::{
    harness::{
        RawConnection, Sqlite, TestServer, connect_from, eventually, message_frame, read_status,
        refused,
    },
    transport::{
        http2_connection::Http2Connection,
        http2_frames::{DATA, END_HEADERS, END_STREAM, HEADERS, client_preface, frame, headers},
    },
};

const WATCH: &str = "grpc.health.v1.Health/Watch";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Begins a stream; returns the response, or why it is refused.
async fn open(
    raw: &mut RawConnection,
    rpc: &str,
    address: &str,
) -> Result<http::Response<RecvStream>, Status> {
    let mut call = raw.begin(rpc, &[("x-forwarded-for", address)]).await;
    match rpc {
        WATCH => call.send(&message_frame(&HealthCheckRequest::default()), true),
        _ => call.send(&message_frame(&list_services()), false),
    }
    let response = call.response().await;
    match status_of(response.headers()) {
        Some(status) => Err(status),
        None => Ok(response),
    }
}

fn list_services() -> ServerReflectionRequest {
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    }
}

fn status_of(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers)
}

fn assert_overloaded<T>(refusal: Result<T, Status>) {
    let refusal = refused(refusal.map(|_| Response::new(())));
    assert_eq!(refusal.class(), (Code::ResourceExhausted, "OVERLOADED"));
}

#[tokio::test]
async fn a_connection_has_at_most_sixteen_streams_without_a_caller() {
    let server = TestServer::start_with(Sqlite, &["--reflection=true"]).await;
    let mut raw = RawConnection::to(server.address).await;

    let mut streams = Vec::new();
    for number in 0..16 {
        let rpc = [WATCH, REFLECTION][number % 2];
        streams.push(open(&mut raw, rpc, "").await.unwrap());
    }
    assert_overloaded(open(&mut raw, WATCH, "").await);
    assert_overloaded(open(&mut raw, REFLECTION, "").await);

    streams.clear();
    eventually("the streams have ended", async || {
        open(&mut raw, WATCH, "").await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_reflection_stream_without_messages_ends_after_a_minute() {
    let server = TestServer::start_with(Sqlite, &["--reflection=true"]).await;
    let mut raw = RawConnection::to(server.address).await;
    let silent = open(&mut raw, REFLECTION, "").await.unwrap();
    let begun = Instant::now();

    let ended = timeout(Duration::from_secs(90), read_status(silent)).await;

    assert_eq!(ended.unwrap().code(), Code::Ok);
    let lasted = begun.elapsed();
    assert!(lasted > Duration::from_secs(50), "{lasted:?}");
}

#[tokio::test]
async fn an_address_has_an_eighth_of_the_streams_without_a_caller() {
    // At least 128 in total.
    let flags = ["--max-calls=8", "--trusted-proxies=127.0.0.1"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let mut raw = RawConnection::to(server.address).await;

    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(open(&mut raw, WATCH, "198.51.100.1").await.unwrap());
    }
    assert_overloaded(open(&mut raw, WATCH, "198.51.100.1").await);
    open(&mut raw, WATCH, "198.51.100.2").await.unwrap();
}

#[tokio::test]
async fn a_connection_that_goes_on_opening_health_watches_is_closed() {
    let server = TestServer::start(Sqlite).await;
    let attacker = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let stream = connect_from(attacker, server.address).await;
    let mut raw = Http2Connection { stream };
    let watch = |number: u32| {
        let stream = 2 * number + 1;
        let head = headers("/grpc.health.v1.Health/Watch");
        let message = frame(DATA, END_STREAM, stream, &[0; 5]);
        [frame(HEADERS, END_HEADERS, stream, &head), message].concat()
    };
    let watches = (0..100).flat_map(watch);
    let bytes: Vec<u8> = client_preface().into_iter().chain(watches).collect();

    raw.send(&bytes).await.unwrap();
    raw.closed().await;

    let mut health = HealthClient::new(server.channel.clone());
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
}
