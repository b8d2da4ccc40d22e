use super::{hook_edge::HookEdge, stub_api::StubApi};
use crate::harness::{Engine::Sqlite, TestServer};

#[tokio::test]
async fn without_the_control_plane_publishers_are_refused_in_the_format_of_each_media_server() {
    for (kind, hook, body, status, text) in [
        (
            "nginx-rtmp",
            "nginx-rtmp/SECRET/publish",
            "app=live&addr=203.0.113.5&clientid=1&call=publish&name=sk_1&type=live",
            503,
            "the control plane does not answer",
        ),
        (
            "mediamtx",
            "mediamtx/SECRET/auth",
            r#"{"ip":"203.0.113.5","action":"publish","path":"live/sk_1","protocol":"rtmp",
            "id":"0d5a1b8e-97d5-4a0e-a0a1-0a1b2c3d4e5f","query":""}"#,
            503,
            "the control plane does not answer",
        ),
        (
            "srs",
            "srs/SECRET/publish",
            r#"{"service_id":"k1","action":"on_publish","client_id":"a1","app":"live","stream":"sk_1"}"#,
            200,
            r#"{"code":1,"msg":"the control plane does not answer"}"#,
        ),
    ] {
        let server = TestServer::start(Sqlite).await;
        let edge = HookEdge::start(&server, kind, &StubApi::start().await).await;
        server.stop().await;
        let answer = edge.hook(hook, body).await;
        assert_eq!(
            (answer.status, answer.body.trim()),
            (status, text),
            "{kind}"
        );
        assert!(!edge.log().contains("sk_1"), "{}", edge.log());
    }
}

#[tokio::test]
async fn hooks_without_the_secret_are_not_found() {
    let server = TestServer::start(Sqlite).await;
    let edge = HookEdge::start(&server, "srs", &StubApi::start().await).await;
    for path in [
        "srs/0123456789abcdeX/publish",
        "srs//publish",
        "srs/SECRET/other",
        "nginx-rtmp/SECRET/publish_done",
        "mediamtx/SECRET/available",
    ] {
        let answer = edge.hook(path, "{}").await;
        let told = (answer.status, answer.body.trim());
        assert_eq!(told, (404, "not found"), "{path}");
    }
}
