//! What media servers answer when they are asked who publishes, and how they are told to
//! disconnect, over real HTTP.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Found, MediaServer, PublicName, ServerTerms};
use crate::{
    config::MediaServerKind,
    edge::connection::{ConnectionId, Look},
    proto::v1::IngestProtocol,
};

const UUID: &str = "0d5a1b8e-97d5-4a0e-a0a1-0a1b2c3d4e5f";

/// A media server's HTTP side: fixed answers, and what it was asked.
#[derive(Clone, Default)]
struct Stub {
    answers: Arc<Mutex<HashMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// Answers 200 with a text to a method and path, whatever the query.
    fn answer(&self, asked: &str, text: &str) {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(asked.to_owned(), text.to_owned());
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn take(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let asked = format!("{} {}", request.method(), request.uri());
        let found = self.answers.lock().unwrap();
        let found = found.get(asked.split('?').next().unwrap()).cloned();
        self.asked.lock().unwrap().push(asked);
        let status = if found.is_some() { 200 } else { 404 };
        let body = Full::from(found.unwrap_or_default());
        Response::builder().status(status).body(body).unwrap()
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let stub = self.clone();
            let service = service_fn(move |request| {
                let answer = stub.take(&request);
                async { Ok::<_, Infallible>(answer) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }
}

async fn server(kind: MediaServerKind) -> (Stub, MediaServer, TempDir) {
    let folder = TempDir::new().unwrap();
    let stub = Stub::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(stub.clone().serve(listener));
    let server = MediaServer::new(ServerTerms {
        kind,
        api: Some(api.parse().unwrap()),
        rtmp: "rtmp://127.0.0.1:1935".to_owned(),
        folder: folder.path().to_owned(),
    });
    (stub, server.unwrap(), folder)
}

fn ids(look: &Look) -> Vec<&str> {
    look.seen.iter().map(|seen| seen.id.as_str()).collect()
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
async fn nginx_rtmp_shows_who_publishes_where_the_edge_is_asked() {
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
    stub.answer("GET /stat", &stat(&streams.concat()));

    let look = server.look().await.unwrap();
    assert_eq!(ids(&look), [known.id.as_str(), "60"]);
    assert!(look.boot_id.starts_with("4711-"), "{}", look.boot_id);
    assert_eq!(server.look().await.unwrap().boot_id, look.boot_id);

    let renamed = &look.seen[0];
    assert!(renamed.offer.is_none(), "its key is not told");
    assert_eq!(renamed.stats.as_ref().unwrap().bytes_received, 7);
    let own = look.seen[1].offer.as_ref().unwrap();
    assert_eq!(own.stream_key.expose(), "sk_1");
    assert_eq!(own.play_url.expose(), "rtmp://127.0.0.1:1935/live/sk_1");
    assert_eq!(own.peer_address, "203.0.113.5");
}

#[tokio::test]
async fn a_hook_of_an_unknown_connection_has_nginx_rtmp_be_asked_once() {
    let (stub, server, _folder) = server(MediaServerKind::NginxRtmp).await;
    let MediaServer::NginxRtmp(nginx) = &server else {
        panic!("it is nginx-rtmp");
    };
    let name = PublicName::generate();
    stub.answer("GET /stat", &stat(&published("live", name.as_str(), 54)));

    let finds = (0..20).map(|_| nginx.find("live", 54));
    for find in finds {
        match find.await {
            Found::Publishing(published) => assert_eq!(published.name.as_ref(), Some(&name)),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(nginx.find("live", 55).await, Found::NotThere));
    assert_eq!(stub.asked(), ["GET /stat"]);
    assert_eq!(
        ids(&server.look().await.unwrap()).len(),
        1,
        "its application is known"
    );
}

#[tokio::test]
async fn nginx_rtmp_disconnects_one_connection_under_one_name() {
    let (stub, server, _folder) = server(MediaServerKind::NginxRtmp).await;
    let name = PublicName::generate();
    let kick = async |id: &str| server.kick(&ConnectionId::parse(id).unwrap()).await;
    let renamed = format!("54-{name}");
    assert!(kick(&renamed).await.is_err(), "there is no control");

    stub.answer("GET /control/drop/publisher", "0");
    kick(&renamed).await.unwrap();
    kick("60").await.unwrap();
    kick("54-other&clientid=1")
        .await
        .expect("it is no connection");
    assert_eq!(
        stub.asked()[1..],
        [
            format!("GET /control/drop/publisher?clientid=54&name={name}"),
            "GET /control/drop/publisher?clientid=60".to_owned(),
        ]
    );
}

#[tokio::test]
async fn mediamtx_shows_who_publishes_with_which_key() {
    let (stub, server, _folder) = server(MediaServerKind::MediaMtx).await;
    let path = |page: u32| {
        format!(
            r#"{{"itemCount":3,"pageCount":2,"items":[{{"name":"live/sk_{page}","source":{{"type":"rtmpConn",
            "id":"{UUID}"}},"available":true,"inboundBytes":9}},
            {{"name":"camera","source":{{"type":"rtspSource","id":""}}}},{{"name":"x","source":null}}]}}"#
        )
    };
    stub.answer(
        "GET /v3/info",
        r#"{"version":"v1","started":"2026-11-22T21:00:00Z"}"#,
    );
    stub.answer("GET /v3/paths/list", &path(1));
    stub.answer(
        "GET /v3/rtmpconns/list",
        &format!(r#"{{"pageCount":1,"items":[{{"id":"{UUID}","remoteAddr":"203.0.113.5:4000","state":"publish"}}]}}"#),
    );

    let look = server.look().await.unwrap();
    assert_eq!(look.boot_id, "2026-11-22T21:00:00Z");
    assert_eq!(ids(&look), [UUID, UUID], "of both pages");
    let offer = look.seen[0].offer.as_ref().unwrap();
    assert_eq!(offer.stream_key.expose(), "sk_1");
    assert_eq!(offer.play_url.expose(), "rtmp://127.0.0.1:1935/live/sk_1");
    assert_eq!(offer.peer_address, "203.0.113.5");
    assert_eq!(offer.protocol, IngestProtocol::Rtmp);
    let pages = "GET /v3/paths/list?itemsPerPage=500&page=";
    let pages = stub
        .asked()
        .iter()
        .filter(|asked| asked.starts_with(pages))
        .count();
    assert_eq!(pages, 2);
}

#[tokio::test]
async fn a_mediamtx_that_does_not_say_when_it_started_has_one_boot() {
    let (stub, server, folder) = server(MediaServerKind::MediaMtx).await;
    stub.answer("GET /v3/paths/list", r#"{"pageCount":0,"items":[]}"#);
    let boot_id = server.look().await.unwrap().boot_id;
    assert_eq!(server.look().await.unwrap().boot_id, boot_id);
    let kept = std::fs::read_to_string(folder.path().join("boot")).unwrap();
    assert_eq!(kept, boot_id);
}

#[tokio::test]
async fn mediamtx_disconnects_whatever_protocol_a_connection_speaks() {
    let (stub, server, _folder) = server(MediaServerKind::MediaMtx).await;
    let id = ConnectionId::parse(UUID).unwrap();
    server
        .kick(&id)
        .await
        .expect("one that is gone is no error");
    assert_eq!(stub.asked().len(), 6);

    stub.answer(&format!("POST /v3/srtconns/kick/{UUID}"), "{}");
    server.kick(&id).await.unwrap();
    assert_eq!(stub.asked().len(), 9, "no other is asked after that");
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
async fn srs_shows_who_publishes_and_which_run_it_is() {
    let (stub, server, _folder) = server(MediaServerKind::Srs).await;
    let clients = [client("a1", true), client("b2", false)].join(",");
    stub.answer("GET /api/v1/clients/", &srs("k1", "clients", &clients));
    let stream = r#"{"id":"vid-s","app":"live","publish":{"active":true,"cid":"a1"}}"#;
    stub.answer("GET /api/v1/streams/", &srs("k1", "streams", stream));

    let look = server.look().await.unwrap();
    assert_eq!((&*look.boot_id, &ids(&look)[..]), ("k1", &["a1"][..]));
    let offer = look.seen[0].offer.as_ref().unwrap();
    assert_eq!(offer.stream_key.expose(), "sk_1");
    assert_eq!(offer.play_url.expose(), "rtmp://127.0.0.1:1935/live/sk_1");
    assert_eq!(look.seen[0].stats.as_ref().unwrap().bytes_received, 4800);

    stub.answer("GET /api/v1/streams/", &srs("k2", "streams", ""));
    assert!(server.look().await.is_err(), "it started anew in between");
}

#[tokio::test]
async fn a_connection_of_srs_that_publishes_again_has_another_name() {
    let (stub, server, _folder) = server(MediaServerKind::Srs).await;
    let MediaServer::Srs(srs_server) = &server else {
        panic!("it is SRS");
    };
    let name = |id: Option<ConnectionId>| id.unwrap().as_str().to_owned();
    assert_eq!(name(srs_server.begin("k1", "a1")), "a1");
    assert_eq!(name(srs_server.begin("k1", "a1")), "a1", "a repetition");
    assert_eq!(name(srs_server.end("k1", "a1")), "a1");
    assert_eq!(name(srs_server.begin("k1", "a1")), "a1.2");

    stub.answer(
        "GET /api/v1/clients/",
        &srs("k1", "clients", &client("a1", true)),
    );
    stub.answer("GET /api/v1/streams/", &srs("k1", "streams", ""));
    assert_eq!(ids(&server.look().await.unwrap()), ["a1.2"]);

    stub.answer("DELETE /api/v1/clients/a1", r#"{"code":0}"#);
    let id = ConnectionId::parse("a1.2").unwrap();
    server.kick(&id).await.unwrap();
    stub.answer("DELETE /api/v1/clients/a1", r#"{"code":2049}"#);
    server
        .kick(&id)
        .await
        .expect("one that is gone is no error");
    stub.answer("DELETE /api/v1/clients/a1", r#"{"code":1}"#);
    assert!(server.kick(&id).await.is_err());
}

#[tokio::test]
async fn a_new_run_of_srs_has_new_connections_though_they_are_called_alike() {
    let (_stub, server, _folder) = server(MediaServerKind::Srs).await;
    let MediaServer::Srs(srs_server) = &server else {
        panic!("it is SRS");
    };
    let first = srs_server.begin("k1", "a1");
    assert_eq!(srs_server.end("k1", "a1"), first);
    assert_eq!(srs_server.begin("k2", "a1"), first, "another connection");
    assert_eq!(srs_server.end("k1", "a1"), None, "that run is over");
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_an_error_that_quotes_nothing() {
    for (kind, asked) in [
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
            stub.answer(asked, text);
            let fault = format!("{:#}", server.look().await.unwrap_err());
            assert!(!fault.contains("sk_"), "{fault}");
        }
    }
}
