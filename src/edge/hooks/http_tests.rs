//! Hooks as media servers send them, over real HTTP, to an edge whose control plane is
//! unreachable.

use http::Uri;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::handler::serve;
use crate::{
    config::MediaServerKind,
    domain::Secret,
    edge::{
        control_plane::ControlPlane, credentials::ApiKey, publishing::Publishers,
        servers::MediaServer,
    },
};

const SECRET: &str = "0123456789abcdef";

/// The stream key of all publishers here.
const KEY: &str = "sk_3f9c0c7d";

/// A connection id of MediaMTX.
const UUID: &str = "0d5a1b8e-97d5-4a0e-a0a1-0a1b2c3d4e5f";

/// A server of hooks. Neither its media server nor its control plane runs.
struct HookServer {
    address: String,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

impl HookServer {
    async fn start(kind: MediaServerKind) -> Self {
        let folder = TempDir::new().unwrap();
        // No process listens on a port that was released.
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let unused = format!("http://{}", unused.local_addr().unwrap());
        let unused: Uri = unused.parse().unwrap();
        let api_key = ApiKey::Text(Secret::new("sluice_key"));
        let control = ControlPlane::new(unused.clone(), None, api_key);
        let rtmp_url = "rtmp://127.0.0.1:1935".to_owned();
        let server = MediaServer::new(kind, Some(unused), rtmp_url, folder.path());
        let publishers = Publishers::new(
            control.unwrap(),
            "node".to_owned(),
            Default::default(),
            tokio::sync::mpsc::channel(1).0,
        );

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let serving = serve(
            listener,
            Secret::new(SECRET),
            server.unwrap(),
            publishers,
            shutdown.clone(),
        );
        Self {
            address,
            shutdown,
            serving: tokio::spawn(serving),
            _folder: folder,
        }
    }

    /// Sends a raw request. Returns the status and the whole text of the answer.
    async fn send(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses a long body may close before it was read.
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8(answer).unwrap();
        assert!(!text.contains(KEY), "{text}");
        let status = text.split(' ').nth(1).unwrap();
        (status.parse().unwrap(), text)
    }

    /// Sends a hook with the right secret, in the version of HTTP that its server uses.
    async fn hook(&self, server: &str, name: &str, body: &str) -> (u16, String) {
        let (version, content_type) = match server {
            "nginx-rtmp" => ("1.0", "application/x-www-form-urlencoded"),
            _ => ("1.1", "application/json"),
        };
        let length = body.len();
        let request = format!(
            "POST /hooks/{server}/{SECRET}/{name} HTTP/{version}\r\nHost: 127.0.0.1\r\n\
             Content-Type: {content_type}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.send(&request).await
    }

    /// The status of the answer to a hook.
    async fn status(&self, server: &str, name: &str, body: &str) -> u16 {
        self.hook(server, name, body).await.0
    }
}

/// The form of an nginx-rtmp hook with these fields at its end.
fn nginx(call: &str, fields: &str) -> String {
    format!(
        "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=&tcurl=rtmp://127.0.0.1:11935/live\
         &pageurl=&addr=127.0.0.1&clientid=1&call={call}&{fields}"
    )
}

#[tokio::test]
async fn nginx_rtmp_gets_503_while_the_control_plane_is_unreachable() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    let form = nginx("publish", &format!("name={KEY}&type=live"));
    let (status, text) = hooks.hook("nginx-rtmp", "publish", &form).await;
    assert_eq!(status, 503);
    // nginx-rtmp reads the tenth character of the answer and no more.
    assert_eq!(text.as_bytes()[9], b'5', "{text}");
}

#[tokio::test]
async fn forged_fields_are_refused_without_a_call_to_the_control_plane() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    let update = format!("time=2&timestamp=1956&name={KEY}");
    for forged in [
        "name=other",
        "addr=10.0.0.1",
        "clientid=2",
        "call=publish_done",
    ] {
        for (name, call, fields, expected) in [
            ("publish", "publish", format!("name={KEY}&type=live"), 403),
            ("update", "update_publish", update.clone(), 403),
            ("publish_done", "publish_done", format!("name={KEY}"), 200),
        ] {
            let form = nginx(call, &format!("{fields}&{forged}"));
            let status = hooks.status("nginx-rtmp", name, &form).await;
            assert_eq!(status, expected, "{name} {forged}");
        }
    }
}

#[tokio::test]
async fn a_publish_with_a_field_of_an_update_is_refused() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    for forged in ["time=1", "timestamp=1", "epoch=7"] {
        let form = nginx("publish", &format!("name={KEY}&type=live&{forged}"));
        let status = hooks.status("nginx-rtmp", "publish", &form).await;
        assert_eq!(status, 403, "{forged}");
    }
}

#[tokio::test]
async fn a_call_on_the_path_of_another_is_malformed() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    for (name, call) in [
        ("publish", "update_publish"),
        ("publish", "play"),
        ("update", "publish"),
        ("publish_done", "play_done"),
        ("publish_done", "publish"),
    ] {
        let form = nginx(call, &format!("name={KEY}"));
        let status = hooks.status("nginx-rtmp", name, &form).await;
        assert_eq!(status, 400, "{name} {call}");
    }
    for form in [
        "",
        "call=publish",
        "call=publish&name=k&app=live&clientid=x",
    ] {
        let status = hooks.status("nginx-rtmp", "publish", form).await;
        assert_eq!(status, 400, "{form}");
    }
}

#[tokio::test]
async fn updates_of_nginx_rtmp_players_are_ignored() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    let form = nginx("update_play", "time=2&timestamp=3890&name=key1");
    assert_eq!(hooks.status("nginx-rtmp", "update", &form).await, 200);
}

#[tokio::test]
async fn an_update_continues_while_nginx_rtmp_does_not_answer() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    let fields = format!("time=2&timestamp=1956&name={KEY}");
    let form = nginx("update_publish", &fields);
    assert_eq!(hooks.status("nginx-rtmp", "update", &form).await, 200);
}

#[tokio::test]
async fn mediamtx_allows_all_but_publishing_on_this_machine_only() {
    let hooks = HookServer::start(MediaServerKind::MediaMtx).await;
    for (action, ip, expected) in [
        ("read", "127.0.0.1", 200),
        ("playback", "::1", 200),
        ("api", "127.0.0.1", 200),
        ("metrics", "::ffff:127.0.0.1", 200),
        ("read", "203.0.113.5", 403),
        ("playback", "10.0.0.1", 403),
        ("api", "192.168.0.1", 403),
        ("pprof", "", 403),
        ("another", "127.0.0.1", 403),
        ("publish", "127.0.0.1", 503),
    ] {
        let body = format!(
            r#"{{"ip":"{ip}","user":"","password":"","token":"","action":"{action}","path":"live/{KEY}",
            "protocol":"rtmp","id":"{UUID}","query":"a=b","userAgent":"x"}}"#
        );
        let status = hooks.status("mediamtx", "auth", &body).await;
        assert_eq!(status, expected, "{action} {ip}");
    }
}

#[tokio::test]
async fn publishing_to_mediamtx_needs_an_id_and_a_key() {
    let hooks = HookServer::start(MediaServerKind::MediaMtx).await;
    let id = format!("\"{UUID}\"");
    for (path, id) in [
        ("live/k", "null"),
        ("live/k", "\"x\""),
        ("live/", &id),
        ("", &id),
    ] {
        let body = format!(
            r#"{{"ip":"127.0.0.1","action":"publish","path":"{path}","protocol":"rtmp","id":{id},"query":""}}"#
        );
        let status = hooks.status("mediamtx", "auth", &body).await;
        assert_eq!(status, 403, "{path} {id}");
    }
    for body in ["", "[]", "{}", "{\"action\":\"publish\"}"] {
        let status = hooks.status("mediamtx", "auth", body).await;
        assert_eq!(status, 400, "{body}");
    }
}

#[tokio::test]
async fn hook_commands_of_mediamtx_send_forms_or_queries() {
    let hooks = HookServer::start(MediaServerKind::MediaMtx).await;
    for (name, form) in [
        (
            "available",
            &*format!("source_id={UUID}&source_type=rtmpConn"),
        ),
        ("unavailable", &*format!("source_id={UUID}")),
        ("available", "source_id=&source_type=rtspSource"),
    ] {
        assert_eq!(hooks.status("mediamtx", name, form).await, 200, "{form}");
        let name = format!("{name}?{form}");
        assert_eq!(hooks.status("mediamtx", &name, "").await, 200, "{name}");
    }
}

fn srs(action: &str) -> String {
    format!(
        r#"{{"server_id":"vid-0s5o7s5","service_id":"k1x2y3z4","action":"{action}","client_id":"c7d8e9f0",
        "ip":"203.0.113.5","vhost":"__defaultVhost__","app":"live","tcUrl":"rtmp://203.0.113.1/live",
        "stream":"{KEY}","param":"?token=x","stream_url":"/live/{KEY}","stream_id":"vid-124q9y3"}}"#
    )
}

#[tokio::test]
async fn srs_gets_a_code_and_a_reason() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let (status, text) = hooks.hook("srs", "publish", &srs("on_publish")).await;
    assert_eq!(status, 200);
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let refusal = r#"{"code":1,"msg":"the control plane does not answer"}"#;
    assert_eq!(body, refusal);
}

#[tokio::test]
async fn srs_gets_success_for_each_end() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let (status, text) = hooks.hook("srs", "unpublish", &srs("on_unpublish")).await;
    assert_eq!(status, 200);
    assert!(text.ends_with("\r\n\r\n{\"code\":0}"), "{text}");
}

#[tokio::test]
async fn an_action_on_the_path_of_another_is_malformed() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    for (name, action) in [
        ("publish", "on_unpublish"),
        ("publish", "on_play"),
        ("unpublish", "on_publish"),
        ("unpublish", "on_stop"),
    ] {
        let status = hooks.status("srs", name, &srs(action)).await;
        assert_eq!(status, 400, "{name} {action}");
    }
    let twice = srs("on_publish").replace("\"app\"", "\"stream\":\"other\",\"app\"");
    let status = hooks.status("srs", "publish", &twice).await;
    assert_eq!(status, 400, "a field occurs twice");
}

#[tokio::test]
async fn hooks_of_another_media_server_are_not_found() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let form = nginx("publish_done", &format!("name={KEY}"));
    let status = hooks.status("nginx-rtmp", "publish_done", &form).await;
    assert_eq!(status, 404);
    let status = hooks.status("mediamtx", "available", "source_id=x").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn the_liveness_probe_needs_no_secret() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let (status, text) = hooks.send("GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("alive\n"), "{text}");
    let (status, _) = hooks.send("POST /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(status, 405);
}

#[tokio::test]
async fn bodies_are_bounded_and_the_liveness_probe_needs_no_secret() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let long = " ".repeat(64 * 1024 + 1);
    assert_eq!(hooks.status("srs", "unpublish", &long).await, 413);

    for (request, expected) in [
        ("GET /livez", 200),
        ("POST /hooks/srs/0123456789abcdeX/publish", 404),
        ("GET /hooks/srs/0123456789abcdeX/publish", 404),
        (&format!("GET /hooks/srs/{SECRET}/publish"), 405),
    ] {
        let (status, _) = hooks.send(&format!("{request} HTTP/1.0\r\n\r\n")).await;
        assert_eq!(status, expected, "{request}");
    }
}

#[tokio::test]
async fn a_shutdown_closes_idle_connections() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let mut idle = TcpStream::connect(&hooks.address).await.unwrap();
    let (status, _) = hooks.send("GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(status, 200);
    hooks.shutdown.cancel();
    hooks.serving.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}
