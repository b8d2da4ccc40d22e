//! Hooks as media servers send them, over real HTTP, to an edge whose control plane is away.

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::port::serve;
use crate::{
    config::MediaServerKind,
    domain::Secret,
    edge::{
        ApiKey, ControlPlane, ServerTerms, Terms, publishing::Publishing, servers::MediaServer,
    },
};

const SECRET: &str = "0123456789abcdef";

/// What a publisher of these transcripts gives as its key.
const KEY: &str = "sk_3f9c0c7d";

/// A listener for hooks, beside a media server that nobody runs.
struct Edge {
    address: String,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

impl Edge {
    async fn beside(kind: MediaServerKind) -> Self {
        let folder = TempDir::new().unwrap();
        // Nothing listens on a port that was given back.
        let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let away = format!("http://{}", away.local_addr().unwrap());
        let control = ControlPlane::new(Terms {
            address: away.parse().unwrap(),
            ca: None,
            api_key: ApiKey::Text(Secret::new("sluice_key")),
        });
        let server = MediaServer::new(ServerTerms {
            kind,
            api: Some(away.parse().unwrap()),
            rtmp: "rtmp://127.0.0.1:1935".to_owned(),
            folder: folder.path().to_owned(),
        });
        let publishing = Publishing::new(control.unwrap(), "node".to_owned(), Default::default());

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let serving = serve(
            listener,
            Secret::new(SECRET),
            server.unwrap(),
            publishing,
            shutdown.clone(),
        );
        Self {
            address,
            shutdown,
            serving: tokio::spawn(serving),
            _folder: folder,
        }
    }

    /// Sends a request as it is, and reads until the end.
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Who refuses a long body may close before it was read.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// A hook as nginx-rtmp sends it.
    async fn form(&self, name: &str, form: &str) -> String {
        let length = form.len();
        self.send(&format!(
            "POST /hooks/nginx-rtmp/{SECRET}/{name} HTTP/1.0\r\nHost: 127.0.0.1\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nConnection: Close\r\n\
             Content-Length: {length}\r\n\r\n{form}"
        ))
        .await
    }

    /// A hook as MediaMTX and SRS send it.
    async fn json(&self, path: &str, body: &str) -> String {
        let length = body.len();
        self.send(&format!(
            "POST /hooks/{} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {length}\r\n\r\n{body}",
            path.replace("SECRET", SECRET)
        ))
        .await
    }
}

fn status(answer: &str) -> u16 {
    assert!(!answer.contains(KEY), "{answer}");
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn nginx(call: &str, after: &str) -> String {
    format!(
        "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=&tcurl=rtmp://127.0.0.1:11935/live\
         &pageurl=&addr=127.0.0.1&clientid=1&call={call}&{after}"
    )
}

#[tokio::test]
async fn nginx_rtmp_is_told_that_the_control_plane_is_away() {
    let edge = Edge::beside(MediaServerKind::NginxRtmp).await;
    let form = nginx("publish", &format!("name={KEY}&type=live"));
    let answer = edge.form("publish", &form).await;
    assert_eq!(status(&answer), 503);
    // nginx-rtmp reads the tenth character of the answer and no more.
    assert_eq!(answer.as_bytes()[9], b'5', "{answer}");
}

#[tokio::test]
async fn forged_fields_are_refused_before_anybody_is_asked() {
    let edge = Edge::beside(MediaServerKind::NginxRtmp).await;
    for forged in [
        "name=other",
        "addr=10.0.0.1",
        "clientid=2",
        "call=publish_done",
    ] {
        let form = nginx("publish", &format!("name={KEY}&type=live&{forged}"));
        assert_eq!(status(&edge.form("publish", &form).await), 403, "{forged}");
        let form = nginx(
            "update_publish",
            &format!("time=2&timestamp=1956&name={KEY}&{forged}"),
        );
        assert_eq!(status(&edge.form("update", &form).await), 403, "{forged}");
        let form = nginx("publish_done", &format!("name={KEY}&{forged}"));
        assert_eq!(
            status(&edge.form("publish_done", &form).await),
            200,
            "{forged}"
        );
    }
}

#[tokio::test]
async fn who_publishes_with_a_field_of_an_update_is_refused_at_once() {
    let edge = Edge::beside(MediaServerKind::NginxRtmp).await;
    for forged in ["time=1", "timestamp=1", "epoch=7"] {
        let form = nginx("publish", &format!("name={KEY}&type=live&{forged}"));
        assert_eq!(status(&edge.form("publish", &form).await), 403, "{forged}");
    }
}

#[tokio::test]
async fn a_call_that_does_not_belong_to_its_path_is_not_understood() {
    let edge = Edge::beside(MediaServerKind::NginxRtmp).await;
    for (path, call) in [
        ("publish", "update_publish"),
        ("publish", "play"),
        ("update", "publish"),
        ("publish_done", "play_done"),
        ("publish_done", "publish"),
    ] {
        let form = nginx(call, &format!("name={KEY}"));
        assert_eq!(status(&edge.form(path, &form).await), 400, "{path} {call}");
    }
    for form in [
        "",
        "call=publish",
        "call=publish&name=k&app=live&clientid=x",
    ] {
        assert_eq!(status(&edge.form("publish", form).await), 400, "{form}");
    }
}

#[tokio::test]
async fn players_of_nginx_rtmp_are_left_alone() {
    let edge = Edge::beside(MediaServerKind::NginxRtmp).await;
    let form = "app=live&flashver=LNX%209,0,124,2&swfurl=&tcurl=rtmp://127.0.0.1:11935/live&pageurl=\
                &addr=127.0.0.1&clientid=3&call=update_play&time=2&timestamp=3890&name=key1";
    assert_eq!(status(&edge.form("update", form).await), 200);
}

#[tokio::test]
async fn a_publisher_that_nobody_can_tell_of_is_not_disconnected() {
    let edge = Edge::beside(MediaServerKind::NginxRtmp).await;
    let form = nginx(
        "update_publish",
        &format!("time=2&timestamp=1956&name={KEY}"),
    );
    assert_eq!(status(&edge.form("update", &form).await), 200);
}

#[tokio::test]
async fn mediamtx_may_do_all_but_publish_for_this_machine_alone() {
    let edge = Edge::beside(MediaServerKind::MediaMtx).await;
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
        let answer = edge.json("mediamtx/SECRET/auth", &body).await;
        assert_eq!(status(&answer), expected, "{action} {ip}");
    }
}

#[tokio::test]
async fn who_has_no_id_or_no_key_does_not_publish_to_mediamtx() {
    let edge = Edge::beside(MediaServerKind::MediaMtx).await;
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
        let answer = edge.json("mediamtx/SECRET/auth", &body).await;
        assert_eq!(status(&answer), 403, "{path} {id}");
    }
    for body in ["", "[]", "{}", "{\"action\":\"publish\"}"] {
        let answer = edge.json("mediamtx/SECRET/auth", body).await;
        assert_eq!(status(&answer), 400, "{body}");
    }
}

#[tokio::test]
async fn what_mediamtx_runs_is_taken_from_forms_and_queries() {
    let edge = Edge::beside(MediaServerKind::MediaMtx).await;
    let id = "0d5a1b8e-97d5-4a0e-a0a1-0a1b2c3d4e5f";
    for (path, form) in [
        ("available", format!("source_id={id}&source_type=rtmpConn")),
        ("unavailable", format!("source_id={id}")),
        ("available", "source_id=&source_type=rtspSource".to_owned()),
    ] {
        let answer = edge.json(&format!("mediamtx/SECRET/{path}"), &form).await;
        assert_eq!(status(&answer), 200);
        let answer = edge
            .json(&format!("mediamtx/SECRET/{path}?{form}"), "")
            .await;
        assert_eq!(status(&answer), 200);
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
async fn srs_is_refused_with_a_code_and_told_why() {
    let edge = Edge::beside(MediaServerKind::Srs).await;
    let answer = edge.json("srs/SECRET/publish", &srs("on_publish")).await;
    assert_eq!(status(&answer), 200);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        r#"{"code":1,"msg":"the control plane does not answer"}"#
    );
}

#[tokio::test]
async fn srs_is_always_told_that_an_end_was_taken() {
    let edge = Edge::beside(MediaServerKind::Srs).await;
    let answer = edge
        .json("srs/SECRET/unpublish", &srs("on_unpublish"))
        .await;
    assert!(answer.ends_with("\r\n\r\n{\"code\":0}"), "{answer}");
}

#[tokio::test]
async fn an_action_that_does_not_belong_to_its_path_is_not_understood() {
    let edge = Edge::beside(MediaServerKind::Srs).await;
    for (path, action) in [
        ("publish", "on_unpublish"),
        ("publish", "on_play"),
        ("unpublish", "on_publish"),
        ("unpublish", "on_stop"),
    ] {
        let answer = edge.json(&format!("srs/SECRET/{path}"), &srs(action)).await;
        assert_eq!(status(&answer), 400, "{path} {action}");
    }
    let twice = srs("on_publish").replace("\"app\"", "\"stream\":\"other\",\"app\"");
    let answer = edge.json("srs/SECRET/publish", &twice).await;
    assert_eq!(status(&answer), 400, "a field is there twice");
}

#[tokio::test]
async fn hooks_of_another_media_server_are_not_there() {
    let edge = Edge::beside(MediaServerKind::Srs).await;
    let form = nginx("publish_done", &format!("name={KEY}"));
    assert_eq!(status(&edge.form("publish_done", &form).await), 404);
    let answer = edge.json("mediamtx/SECRET/available", "source_id=x").await;
    assert_eq!(status(&answer), 404);
}

#[tokio::test]
async fn bodies_are_bounded_and_life_is_told_without_the_secret() {
    let edge = Edge::beside(MediaServerKind::Srs).await;
    let long = " ".repeat(64 * 1024 + 1);
    let answer = edge.json("srs/SECRET/unpublish", &long).await;
    assert_eq!(status(&answer), 413);

    let answer = edge.send("GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&answer), 200);
    let answer = edge
        .json("srs/0123456789abcdeX/publish", &srs("on_publish"))
        .await;
    assert_eq!(status(&answer), 404);
    let answer = edge
        .send(&format!("GET /hooks/srs/{SECRET}/publish HTTP/1.0\r\n\r\n"))
        .await;
    assert_eq!(status(&answer), 405);
}

#[tokio::test]
async fn a_shutdown_ends_the_listener_though_connections_are_idle() {
    let edge = Edge::beside(MediaServerKind::Srs).await;
    let mut idle = TcpStream::connect(&edge.address).await.unwrap();
    assert_eq!(status(&edge.send("GET /livez HTTP/1.0\r\n\r\n").await), 200);
    edge.shutdown.cancel();
    edge.serving.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}
