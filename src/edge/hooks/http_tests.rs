//! Hooks as media servers send them, over real HTTP, to an edge whose control plane is
//! unreachable.

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::server::serve;
use crate::{
    config::MediaServerKind,
    domain::Secret,
    edge::{
        control::{ControlPlane, ControlPlaneSettings},
        credentials::ApiKey,
        publishing::Publishers,
        servers::{MediaServer, MediaServerSettings},
    },
};

const SECRET: &str = "0123456789abcdef";

/// The stream key of all publishers here.
const KEY: &str = "sk_3f9c0c7d";

/// A server of hooks. Neither its media server nor its control plane runs.
struct HookServer {
    address: String,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

struct Answer {
    status: u16,
    text: String,
}

impl HookServer {
    async fn start(kind: MediaServerKind) -> Self {
        let folder = TempDir::new().unwrap();
        // No process listens on a port that was released.
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let unused = format!("http://{}", unused.local_addr().unwrap());
        let control = ControlPlane::new(ControlPlaneSettings {
            address: unused.parse().unwrap(),
            ca: None,
            api_key: ApiKey::Text(Secret::new("sluice_key")),
        });
        let server = MediaServer::new(MediaServerSettings {
            kind,
            api: Some(unused.parse().unwrap()),
            rtmp_url: "rtmp://127.0.0.1:1935".to_owned(),
            state_dir: folder.path().to_owned(),
        });
        let publishers = Publishers::new(control.unwrap(), "node".to_owned(), Default::default());

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

    /// Sends a raw request, and reads until the end.
    async fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses a long body may close before it was read.
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8(answer).unwrap();
        assert!(!text.contains(KEY), "{text}");
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, text }
    }

    /// A hook as nginx-rtmp sends it.
    async fn form(&self, name: &str, form: &str) -> Answer {
        let length = form.len();
        let request = format!(
            "POST /hooks/nginx-rtmp/{SECRET}/{name} HTTP/1.0\r\nHost: 127.0.0.1\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nConnection: Close\r\n\
             Content-Length: {length}\r\n\r\n{form}"
        );
        self.send(&request).await
    }

    /// A hook as MediaMTX and SRS send it.
    async fn json(&self, path: &str, body: &str) -> Answer {
        let (path, length) = (path.replace("SECRET", SECRET), body.len());
        let request = format!(
            "POST /hooks/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.send(&request).await
    }
}

fn nginx(call: &str, after: &str) -> String {
    format!(
        "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=&tcurl=rtmp://127.0.0.1:11935/live\
         &pageurl=&addr=127.0.0.1&clientid=1&call={call}&{after}"
    )
}

#[tokio::test]
async fn nginx_rtmp_gets_503_while_the_control_plane_is_unreachable() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    let form = nginx("publish", &format!("name={KEY}&type=live"));
    let answer = hooks.form("publish", &form).await;
    assert_eq!(answer.status, 503);
    // nginx-rtmp reads the tenth character of the answer and no more.
    let Answer { text, .. } = answer;
    assert_eq!(text.as_bytes()[9], b'5', "{text}");
}

#[tokio::test]
async fn forged_fields_are_refused_without_a_call_to_the_control_plane() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    for forged in [
        "name=other",
        "addr=10.0.0.1",
        "clientid=2",
        "call=publish_done",
    ] {
        let form = nginx("publish", &format!("name={KEY}&type=live&{forged}"));
        assert_eq!(hooks.form("publish", &form).await.status, 403, "{forged}");
        let fields = format!("time=2&timestamp=1956&name={KEY}&{forged}");
        let form = nginx("update_publish", &fields);
        assert_eq!(hooks.form("update", &form).await.status, 403, "{forged}");
        let form = nginx("publish_done", &format!("name={KEY}&{forged}"));
        let answer = hooks.form("publish_done", &form).await;
        assert_eq!(answer.status, 200, "{forged}");
    }
}

#[tokio::test]
async fn a_publish_with_a_field_of_an_update_is_refused() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    for forged in ["time=1", "timestamp=1", "epoch=7"] {
        let form = nginx("publish", &format!("name={KEY}&type=live&{forged}"));
        assert_eq!(hooks.form("publish", &form).await.status, 403, "{forged}");
    }
}

#[tokio::test]
async fn a_call_on_the_path_of_another_is_malformed() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    for (path, call) in [
        ("publish", "update_publish"),
        ("publish", "play"),
        ("update", "publish"),
        ("publish_done", "play_done"),
        ("publish_done", "publish"),
    ] {
        let form = nginx(call, &format!("name={KEY}"));
        assert_eq!(hooks.form(path, &form).await.status, 400, "{path} {call}");
    }
    for form in [
        "",
        "call=publish",
        "call=publish&name=k&app=live&clientid=x",
    ] {
        assert_eq!(hooks.form("publish", form).await.status, 400, "{form}");
    }
}

#[tokio::test]
async fn updates_of_nginx_rtmp_players_are_ignored() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    let form = "app=live&flashver=LNX%209,0,124,2&swfurl=&tcurl=rtmp://127.0.0.1:11935/live&pageurl=\
                &addr=127.0.0.1&clientid=3&call=update_play&time=2&timestamp=3890&name=key1";
    assert_eq!(hooks.form("update", form).await.status, 200);
}

#[tokio::test]
async fn an_update_continues_while_nginx_rtmp_does_not_answer() {
    let hooks = HookServer::start(MediaServerKind::NginxRtmp).await;
    let fields = format!("time=2&timestamp=1956&name={KEY}");
    let form = nginx("update_publish", &fields);
    assert_eq!(hooks.form("update", &form).await.status, 200);
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
            "protocol":"rtmp","id":"0d5a1b8e-97d5-4a0e-a0a1-0a1b2c3d4e5f","query":"a=b","userAgent":"x"}}"#
        );
        let answer = hooks.json("mediamtx/SECRET/auth", &body).await;
        assert_eq!(answer.status, expected, "{action} {ip}");
    }
}

#[tokio::test]
async fn publishing_to_mediamtx_needs_an_id_and_a_key() {
    let hooks = HookServer::start(MediaServerKind::MediaMtx).await;
    let id = "\"0d5a1b8e-97d5-4a0e-a0a1-0a1b2c3d4e5f\"";
    for (path, id) in [
        ("live/k", "null"),
        ("live/k", "\"x\""),
        ("live/", id),
        ("", id),
    ] {
        let body = format!(
            r#"{{"ip":"127.0.0.1","action":"publish","path":"{path}","protocol":"rtmp","id":{id},"query":""}}"#
        );
        let answer = hooks.json("mediamtx/SECRET/auth", &body).await;
        assert_eq!(answer.status, 403, "{path} {id}");
    }
    for body in ["", "[]", "{}", "{\"action\":\"publish\"}"] {
        let answer = hooks.json("mediamtx/SECRET/auth", body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
}

#[tokio::test]
async fn hook_commands_of_mediamtx_send_forms_or_queries() {
    let hooks = HookServer::start(MediaServerKind::MediaMtx).await;
    let id = "0d5a1b8e-97d5-4a0e-a0a1-0a1b2c3d4e5f";
    for (path, form) in [
        ("available", format!("source_id={id}&source_type=rtmpConn")),
        ("unavailable", format!("source_id={id}")),
        ("available", "source_id=&source_type=rtspSource".to_owned()),
    ] {
        let answer = hooks.json(&format!("mediamtx/SECRET/{path}"), &form).await;
        assert_eq!(answer.status, 200);
        let path = format!("mediamtx/SECRET/{path}?{form}");
        let answer = hooks.json(&path, "").await;
        assert_eq!(answer.status, 200);
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
    let answer = hooks.json("srs/SECRET/publish", &srs("on_publish")).await;
    assert_eq!(answer.status, 200);
    let (_, body) = answer.text.split_once("\r\n\r\n").unwrap();
    let refusal = r#"{"code":1,"msg":"the control plane does not answer"}"#;
    assert_eq!(body, refusal);
}

#[tokio::test]
async fn srs_gets_success_for_each_end() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let hook = srs("on_unpublish");
    let Answer { text, .. } = hooks.json("srs/SECRET/unpublish", &hook).await;
    assert!(text.ends_with("\r\n\r\n{\"code\":0}"), "{text}");
}

#[tokio::test]
async fn an_action_on_the_path_of_another_is_malformed() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    for (path, action) in [
        ("publish", "on_unpublish"),
        ("publish", "on_play"),
        ("unpublish", "on_publish"),
        ("unpublish", "on_stop"),
    ] {
        let hook = format!("srs/SECRET/{path}");
        let answer = hooks.json(&hook, &srs(action)).await;
        assert_eq!(answer.status, 400, "{path} {action}");
    }
    let twice = srs("on_publish").replace("\"app\"", "\"stream\":\"other\",\"app\"");
    let answer = hooks.json("srs/SECRET/publish", &twice).await;
    assert_eq!(answer.status, 400, "a field occurs twice");
}

#[tokio::test]
async fn hooks_of_another_media_server_are_not_found() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let form = nginx("publish_done", &format!("name={KEY}"));
    assert_eq!(hooks.form("publish_done", &form).await.status, 404);
    let answer = hooks.json("mediamtx/SECRET/available", "source_id=x").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn bodies_are_bounded_and_the_liveness_probe_needs_no_secret() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let long = " ".repeat(64 * 1024 + 1);
    let answer = hooks.json("srs/SECRET/unpublish", &long).await;
    assert_eq!(answer.status, 413);

    let answer = hooks.send("GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    let answer = hooks
        .json("srs/0123456789abcdeX/publish", &srs("on_publish"))
        .await;
    assert_eq!(answer.status, 404);
    let answer = hooks
        .send(&format!("GET /hooks/srs/{SECRET}/publish HTTP/1.0\r\n\r\n"))
        .await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn a_shutdown_closes_idle_connections() {
    let hooks = HookServer::start(MediaServerKind::Srs).await;
    let mut idle = TcpStream::connect(&hooks.address).await.unwrap();
    assert_eq!(hooks.send("GET /livez HTTP/1.0\r\n\r\n").await.status, 200);
    hooks.shutdown.cancel();
    hooks.serving.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}
