use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use prost::Message;
use sluice::{domain::Scope, proto::v1 as pb};
use tokio::time::{sleep, timeout};
use tonic::{Code, Response};
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
};

use super::{
    http2_connection::Http2Connection,
    http2_frames::{
        DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, frame, headers,
    },
};
use crate::{
    harness::{RawConnection, Sqlite, TestServer, Watcher, message_frame, read_status, refused},
    stream::{changes::rename, fixture::Fixture},
};

const HEALTH_CHECK: &str = "grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "grpc.health.v1.Health/Watch";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// A request whose response has tens of kilobytes.
fn descriptors() -> ServerReflectionRequest {
    let symbol = "sluice.v1.StreamService".to_owned();
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
    }
}

/// Makes a call on a connection with a window of 0. Returns the time until the connection is
/// closed.
async fn closed_after(
    address: SocketAddr,
    rpc: &str,
    token: &str,
    request: &impl Message,
) -> Duration {
    let mut raw = RawConnection::with_window(address, 0).await;
    let bearer = format!("Bearer {token}");
    let headers: &[_] = match token {
        "" => &[],
        _ => &[("authorization", &*bearer)],
    };
    let begun = Instant::now();
    let unread = raw
        .begin(rpc, headers)
        .await
        .send_message(request)
        .response()
        .await;
    assert_eq!(unread.headers().get("grpc-status"), None, "{rpc}");

    let closed = timeout(Duration::from_secs(30), raw.closed()).await;
    closed.unwrap_or_else(|_| panic!("{rpc}: the connection stays open"));
    begun.elapsed()
}

/// With the default settings.
#[tokio::test]
async fn a_response_of_any_type_that_is_not_read_closes_its_connection_within_fifteen_seconds() {
    let server = TestServer::start_with(Sqlite, &["--reflection=true"]).await;
    let (address, user) = (server.address, server.user().await);
    let (project, _) = user.project().await;
    let owner = &*user.tokens.access_token;
    let worker = server.operator_token(&[Scope::RelaysWork]).await;
    let watch = pb::WatchProjectRequest {
        project_id: project.id,
        after_revision: 0,
    };
    let claim = pb::ClaimRelaysRequest {
        worker_id: "w1".to_owned(),
        capacity: 1,
        ..Default::default()
    };

    let jwks = pb::GetJwksRequest {};
    let list = pb::ListProjectsRequest::default();
    let health = HealthCheckRequest::default();
    let reflection = descriptors();
    let times = tokio::join!(
        closed_after(address, "sluice.v1.AuthService/GetJwks", "", &jwks),
        closed_after(
            address,
            "sluice.v1.ProjectService/ListProjects",
            owner,
            &list
        ),
        closed_after(
            address,
            "sluice.v1.StreamService/WatchProject",
            owner,
            &watch
        ),
        closed_after(
            address,
            "sluice.v1.StreamService/ClaimRelays",
            &worker,
            &claim
        ),
        closed_after(address, HEALTH_WATCH, "", &health),
        closed_after(address, REFLECTION, "", &reflection),
    );

    // On a quiet machine 15 seconds.
    let expected = Duration::from_secs(10)..Duration::from_secs(30);
    for time in [times.0, times.1, times.2, times.3, times.4, times.5] {
        assert!(expected.contains(&time), "{times:?}");
    }
}

/// The window admits a part of the response, and the rest waits in HTTP/2's queue after the
/// handler has ended.
#[tokio::test]
async fn a_response_that_is_read_in_part_closes_its_connection() {
    let flags = ["--response-read-timeout=300ms", "--reflection=true"];
    let server = TestServer::start_with(Sqlite, &flags).await;

    for (rpc, window) in [(HEALTH_CHECK, 1), (REFLECTION, 1), (REFLECTION, 20_000)] {
        let mut raw = RawConnection::with_window(server.address, window).await;
        let call = raw.begin(rpc, &[]).await;
        let call = match rpc {
            HEALTH_CHECK => call.send_message(&HealthCheckRequest::default()),
            _ => call.send_message(&descriptors()),
        };
        let _unread = call.response().await;

        let closed = timeout(Duration::from_secs(20), raw.closed()).await;
        closed.unwrap_or_else(|_| panic!("{rpc}, {window}: the connection stays open"));
    }
}

/// Its windows are large: the server could send, but the socket is full.
#[tokio::test]
async fn a_peer_that_does_not_read_its_socket_is_cut() {
    let flags = ["--response-read-timeout=300ms", "--reflection=true"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let mut raw = Http2Connection::connect(server.address).await;
    // As many streams as a connection may have, each with many requests.
    let messages = message_frame(&descriptors()).repeat(20);
    let mut bytes = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]),
        &frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]),
    ]
    .concat();
    let path = format!("/{REFLECTION}");
    for stream in (1..32).step_by(2) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers(&path)));
        bytes.extend(frame(DATA, END_STREAM, stream, &messages));
    }

    raw.send(&bytes).await.unwrap();
    sleep(Duration::from_secs(5)).await;

    // What was sent before is left in the socket, but not all responses with their trailers.
    let end = raw.closed().await;
    assert!(end.responses < 32, "{end:?}");
}

#[tokio::test]
async fn behind_a_trusted_proxy_only_the_unread_call_ends_and_its_reader_gets_the_reason() {
    let flags = [
        "--response-read-timeout=300ms",
        "--trusted-proxies=127.0.0.1",
        "--reflection=true",
    ];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let check = HealthCheckRequest::default();

    // The handler of the watch goes on, and that of the other call has ended.
    for (rpc, window) in [(HEALTH_WATCH, 1), (REFLECTION, 1_000)] {
        let mut raw = RawConnection::with_window(server.address, window).await;
        let call = raw.begin(rpc, &[]).await;
        let call = match rpc {
            HEALTH_WATCH => call.send_message(&check),
            _ => call.send_message(&descriptors()),
        };
        let unread = call.response().await;
        sleep(Duration::from_secs(1)).await;

        assert_eq!(raw.call(HEALTH_CHECK, &[], &check).await.code(), Code::Ok);
        let refusal = refused(Err::<Response<()>, _>(read_status(unread).await));
        let class = (Code::DeadlineExceeded, "RESPONSE_NOT_READ");
        assert_eq!(refusal.class(), class);
        assert_eq!(raw.call(HEALTH_CHECK, &[], &check).await.code(), Code::Ok);
    }
}

#[tokio::test]
async fn a_slow_reader_gets_the_whole_response() {
    let flags = ["--response-read-timeout=1s", "--reflection=true"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let mut raw = RawConnection::with_window(server.address, 2_048).await;
    let begun = Instant::now();

    let call = raw
        .begin(REFLECTION, &[])
        .await
        .send_message(&descriptors());
    let mut body = call.response().await.into_body();
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        sleep(Duration::from_millis(75)).await;
        body.flow_control().release_capacity(length).unwrap();
    }

    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn an_idle_watch_goes_on() {
    let flags = ["--response-read-timeout=200ms", "--watch-heartbeat=20s"];
    let fixture = Fixture::start_with(Sqlite, &flags).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;

    for name in ["First", "Second"] {
        sleep(Duration::from_secs(1)).await;
        let revision = rename(owner, id, name).await;
        watcher.read_until(revision).await;
    }
}
