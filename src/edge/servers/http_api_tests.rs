//! Snapshots and disconnects over real HTTP, with fixed answers of the media server.

use std::{collections::HashMap, sync::Arc};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{MediaServer, PublicName, PublishLookup};
use crate::{
    config::MediaServerKind,
    edge::publisher::{ConnectionId, ObservedPublisher, PublisherSnapshot},
    proto::v1::IngestProtocol,
    transport::serve_http1,
};

const UUID: &str = "0d5a1b8e-97d5-4a0e-a0a1-0a1b2c3d4e5f";

/// The API of a media server, with fixed answers. It records requests.
#[derive(Clone, Default)]
struct Stub {
    answers: Arc<Mutex<HashMap<String, String>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// Sets the text of the answers to a method and path with any query.
    fn answer(&self, route: &str, text: impl Into<String>) {
        self.answers.lock().insert(route.to_owned(), text.into());
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let request = format!("{} {}", request.method(), request.uri());
        let route = request.split('?').next().unwrap();
        let found = self.answers.lock().get(route).cloned();
        self.requests.lock().push(request);
        let status = if found.is_some() { 200 } else { 404 };
        let body = Full::from(found.unwrap_or_default());
        Response::builder().status(status).body(body).unwrap()
    }
}

async fn server(kind: MediaServerKind) -> (Stub, MediaServer, TempDir) {
    let folder = TempDir::new().unwrap();
    let stub = Stub::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let responding = stub.clone();
    let respond = move |request| std::future::ready(responding.respond(&request));
    let shutdown = CancellationToken::new();
    tokio::spawn(serve_http1(listener, 16, false, shutdown, respond));
    let api = Some(api.parse().unwrap());
    let rtmp_url = "rtmp://127.0.0.1:1935".to_owned();
    let server = MediaServer::new(kind, api, rtmp_url, folder.path());
    (stub, server.unwrap(), folder)
}

fn ids(snapshot: &PublisherSnapshot) -> Vec<&str> {
    let publishers = snapshot.publishers.iter();
    publishers.map(|publisher| publisher.id.as_str()).collect()
}

/// Asserts that a publisher has the values of the fixed answers.
#[track_caller]
fn assert_request(publisher: &ObservedPublisher) {
    let request = publisher.request.as_ref().unwrap();
    assert_eq!(request.stream_key.expose(), "sk_1");
    assert_eq!(request.play_url.expose(), "rtmp://127.0.0.1:1935/live/sk_1");
    assert_eq!(request.peer_address, "203.0.113.5");
    assert_eq!(request.protocol, IngestProtocol::Rtmp);
}

fn stat(streams: &str) -> String {
    format!("<rtmp><pid>4711</pid><uptime>33</uptime><server>{streams}</server></rtmp>")
}

fn published(application: &str, name: &str, client: u64) -> String {
    format!(
        "<application><name>{application}</name><live><stream><name>{name}</name><bytes_in>7</bytes_in>\
         <client><id>{client}</id><address>203.0.113.5</address><publishing/></client></stream></live></application>"
    )
}

#[tokio::test]
async fn nginx_rtmp_lists_publishers_of_applications_with_hooks() {
    let (stub, server, _folder) = server(MediaServerKind::NginxRtmp).await;
    let MediaServer::NginxRtmp(nginx) = &server else {
        panic!("it is nginx-rtmp");
    };
    let known = nginx.begin("live", 54).unwrap();
    let name = known.name.clone().unwrap();
    let streams = [
        published("live", name.as_str(), 54),
        published("live", "sk_1", 60),
        published("destination", "yt", 61),
        published("destination", PublicName::generate().as_str(), 62),
    ];
    stub.answer("GET /stat", stat(&streams.concat()));

    let snapshot = server.snapshot().await.unwrap();
    assert_eq!(ids(&snapshot), [known.id.as_str(), "60"]);
    assert!(snapshot.boot_id.starts_with("4711-"));
    let again = server.snapshot().await.unwrap();
    assert_eq!(again.boot_id, snapshot.boot_id);

    let renamed = &snapshot.publishers[0];
    assert!(renamed.request.is_none(), "its key is not exposed");
    assert_eq!(renamed.stats.as_ref().unwrap().bytes_received, 7);
    assert_request(&snapshot.publishers[1]);
}

#[tokio::test]
async fn stat_is_read_once_for_hooks_of_unknown_connections() {
    let (stub, server, _folder) = server(MediaServerKind::NginxRtmp).await;
    let MediaServer::NginxRtmp(nginx) = &server else {
        panic!("it is nginx-rtmp");
    };
    let name = PublicName::generate();
    stub.answer("GET /stat", stat(&published("live", name.as_str(), 54)));

    for _ in 0..20 {
        match nginx.find("live", 54).await {
            PublishLookup::Found(publish) => assert_eq!(publish.name.as_ref(), Some(&name)),
            other => panic!("{other:?}"),
        }
    }
    let other = nginx.find("live", 55).await;
    assert!(matches!(other, PublishLookup::NotFound));
    assert_eq!(stub.requests(), ["GET /stat"]);
    let listed = server.snapshot().await.unwrap().publishers.len();
    assert_eq!(listed, 1, "its application is known");
}

#[tokio::test]
async fn nginx_rtmp_disconnects_one_connection_with_one_name() {
    let (stub, server, _folder) = server(MediaServerKind::NginxRtmp).await;
    let name = PublicName::generate();
    let kick = async |id: &str| server.kick(&ConnectionId::parse(id).unwrap()).await;
    let renamed = format!("54-{name}");
    assert!(kick(&renamed).await.is_err(), "there is no control module");

    let route = "GET /control/drop/publisher";
    stub.answer(route, "0");
    for id in [&*renamed, "60", "54-other&clientid=1"] {
        kick(id).await.unwrap();
    }
    let requests = [
        format!("{route}?clientid=54&name={name}"),
        format!("{route}?clientid=60"),
    ];
    assert_eq!(stub.requests()[1..], requests, "the last is no connection");
}

#[tokio::test]
async fn mediamtx_lists_publishers_with_their_keys() {
    let (stub, server, _folder) = server(MediaServerKind::MediaMtx).await;
    let info = r#"{"version":"v1","started":"2026-11-22T21:00:00Z"}"#;
    stub.answer("GET /v3/info", info);
    let paths = format!(
        r#"{{"itemCount":3,"pageCount":2,"items":[{{"name":"live/sk_1","source":{{"type":"rtmpConn",
        "id":"{UUID}"}},"available":true,"inboundBytes":9}},
        {{"name":"camera","source":{{"type":"rtspSource","id":""}}}},{{"name":"x","source":null}}]}}"#
    );
    stub.answer("GET /v3/paths/list", paths);
    let connections = format!(
        r#"{{"pageCount":1,"items":[{{"id":"{UUID}","remoteAddr":"203.0.113.5:4000","state":"publish"}}]}}"#
    );
    stub.answer("GET /v3/rtmpconns/list", connections);

    let snapshot = server.snapshot().await.unwrap();
    assert_eq!(snapshot.boot_id, "2026-11-22T21:00:00Z");
    assert_eq!(ids(&snapshot), [UUID, UUID], "of both pages");
    assert_request(&snapshot.publishers[0]);
    let page = "GET /v3/paths/list?itemsPerPage=500&page=";
    let requests = stub.requests().into_iter();
    let pages = requests.filter(|request| request.starts_with(page));
    assert_eq!(pages.count(), 2);
}

#[tokio::test]
async fn a_mediamtx_without_a_start_time_has_one_boot_id() {
    let (stub, server, folder) = server(MediaServerKind::MediaMtx).await;
    stub.answer("GET /v3/paths/list", r#"{"pageCount":0,"items":[]}"#);
    let boot_id = server.snapshot().await.unwrap().boot_id;
    assert_eq!(server.snapshot().await.unwrap().boot_id, boot_id);
    let saved = std::fs::read_to_string(folder.path().join("boot")).unwrap();
    assert_eq!(saved, boot_id);
}

#[tokio::test]
async fn mediamtx_disconnects_a_connection_of_any_protocol() {
    let (stub, server, _folder) = server(MediaServerKind::MediaMtx).await;
    let id = ConnectionId::parse(UUID).unwrap();
    server.kick(&id).await.expect("it is gone");
    assert_eq!(stub.requests().len(), 6);

    stub.answer(&format!("POST /v3/srtconns/kick/{UUID}"), "{}");
    server.kick(&id).await.unwrap();
    assert_eq!(stub.requests().len(), 9, "no further list is requested");
}

fn srs(service: &str, list: &str, items: &str) -> String {
    format!(r#"{{"code":0,"server":"vid-1","service":"{service}","pid":"7","{list}":[{items}]}}"#)
}

fn client(id: &str, publishes: bool) -> String {
    format!(
        r#"{{"id":"{id}","stream":"vid-s","ip":"203.0.113.5","url":"/live/sk_1","name":"sk_1",
        "type":"fmle-publish","publish":{publishes},"recv_bytes":4800}}"#
    )
}

#[tokio::test]
async fn srs_lists_publishers_and_its_boot_id() {
    let (stub, server, _folder) = server(MediaServerKind::Srs).await;
    let clients = [client("a1", true), client("b2", false)].join(",");
    stub.answer("GET /api/v1/clients/", srs("k1", "clients", &clients));
    let stream = r#"{"id":"vid-s","app":"live","publish":{"active":true,"cid":"a1"}}"#;
    stub.answer("GET /api/v1/streams/", srs("k1", "streams", stream));

    let snapshot = server.snapshot().await.unwrap();
    assert_eq!(snapshot.boot_id, "k1");
    assert_eq!(ids(&snapshot), ["a1"]);
    let publisher = &snapshot.publishers[0];
    assert_eq!(publisher.stats.as_ref().unwrap().bytes_received, 4800);
    assert_request(publisher);

    stub.answer("GET /api/v1/streams/", srs("k2", "streams", ""));
    assert!(server.snapshot().await.is_err(), "it restarted in between");
}

#[tokio::test]
async fn a_connection_of_srs_that_publishes_again_has_another_id() {
    let (stub, server, _folder) = server(MediaServerKind::Srs).await;
    let MediaServer::Srs(srs_server) = &server else {
        panic!("it is SRS");
    };
    let name = |id: Option<ConnectionId>| id.unwrap().as_str().to_owned();
    assert_eq!(name(srs_server.begin("k1", "a1")), "a1");
    assert_eq!(name(srs_server.begin("k1", "a1")), "a1", "a repeated hook");
    assert_eq!(name(srs_server.end("k1", "a1")), "a1");
    assert_eq!(name(srs_server.begin("k1", "a1")), "a1.2");

    let clients = srs("k1", "clients", &client("a1", true));
    stub.answer("GET /api/v1/clients/", clients);
    stub.answer("GET /api/v1/streams/", srs("k1", "streams", ""));
    assert_eq!(ids(&server.snapshot().await.unwrap()), ["a1.2"]);

    let id = ConnectionId::parse("a1.2").unwrap();
    // 2049 means that the connection is gone.
    for (code, is_success) in [(0, true), (2049, true), (1, false)] {
        stub.answer("DELETE /api/v1/clients/a1", format!("{{\"code\":{code}}}"));
        assert_eq!(server.kick(&id).await.is_ok(), is_success, "{code}");
    }
}

#[tokio::test]
async fn a_new_boot_of_srs_has_new_connections_with_the_same_ids() {
    let (_stub, server, _folder) = server(MediaServerKind::Srs).await;
    let MediaServer::Srs(srs_server) = &server else {
        panic!("it is SRS");
    };
    let first = srs_server.begin("k1", "a1");
    assert_eq!(srs_server.end("k1", "a1"), first);
    assert_eq!(srs_server.begin("k2", "a1"), first, "another connection");
    assert_eq!(srs_server.end("k1", "a1"), None, "that boot is over");
}

#[tokio::test]
async fn errors_quote_nothing_of_an_answer() {
    for (kind, route) in [
        (MediaServerKind::NginxRtmp, "GET /stat"),
        (MediaServerKind::MediaMtx, "GET /v3/info"),
        (MediaServerKind::Srs, "GET /api/v1/clients/"),
    ] {
        let (stub, server, _folder) = server(kind).await;
        for text in [
            "sk_1",
            "<rtmp>sk_1</rtmp>",
            "{\"code\":\"sk_1\"}",
            "{\"started\":{\"a\":\"sk_1\"}}",
        ] {
            stub.answer(route, text);
            let error = format!("{:#}", server.snapshot().await.unwrap_err());
            assert!(!error.contains("sk_"), "{error}");
        }
    }
}
