use sluice::proto::v1::{EndReason, IngestProtocol, PublishConflictPolicy, StreamStatus};

use super::{
    hook_scene::{HookScene, connection},
    stub_api::StubApi,
};
use crate::harness::eventually;

/// MediaMTX has one path with this source, or none.
fn shows(api: &StubApi, key: &str, source: Option<&str>) {
    let path = source.map(|id| {
        format!(
            r#"{{"name":"live/{key}","confName":"all_others","ready":true,"available":true,"online":true,
            "source":{{"type":"rtmpConn","id":"{id}"}},"tracks":["H264","MPEG-4 Audio"],
            "inboundBytes":4321,"outboundBytes":0,"readers":[]}}"#
        )
    });
    let count = path.iter().count();
    let items = path.unwrap_or_default();
    let list = format!(r#"{{"itemCount":{count},"pageCount":{count},"items":[{items}]}}"#);
    api.answer("GET /v3/paths/list", &list);
}

async fn scene(policy: PublishConflictPolicy) -> HookScene {
    HookScene::start("mediamtx", policy, |api| {
        let info = r#"{"version":"v1.17.0","started":"2026-11-22T21:00:00.123456789Z"}"#;
        api.answer("GET /v3/info", info);
        api.answer("GET /v3/rtmpconns/list", r#"{"pageCount":0,"items":[]}"#);
        shows(api, "", None);
    })
    .await
}

impl HookScene {
    async fn auth(&self, key: &str, id: &str) -> u16 {
        let body = format!(
            r#"{{"ip":"203.0.113.5","user":"","password":"","token":"","action":"publish","path":"live/{key}",
            "protocol":"rtmp","id":"{id}","query":"","userAgent":"FMLE/3.0"}}"#
        );
        self.edge.hook("mediamtx/SECRET/auth", &body).await.status
    }

    async fn runs(&self, hook: &str, id: &str) {
        let form = format!("source_id={id}&source_type=rtmpConn");
        let path = format!("mediamtx/SECRET/{hook}");
        assert_eq!(self.edge.hook(&path, &form).await.status, 200);
    }

    async fn live_at_mediamtx(&self, id: &str) {
        assert_eq!(self.auth(&self.key, id).await, 200);
        shows(&self.api, &self.key, Some(id));
        self.runs("available", id).await;
        self.becomes(StreamStatus::Live, id).await;
    }
}

#[tokio::test]
async fn a_publisher_of_mediamtx_goes_live_and_ends() {
    let scene = scene(PublishConflictPolicy::RejectNew).await;
    let id = connection();
    assert_eq!(scene.auth(&scene.key, &id).await, 200);
    let begun = scene.becomes(StreamStatus::Connecting, &id).await;
    let publisher = begun.publisher.unwrap();
    assert_eq!(publisher.node_id, "n1");
    assert_eq!(publisher.boot_id, "2026-11-22T21:00:00.123456789Z");
    assert_eq!(publisher.peer_address, "203.0.113.5");
    assert_eq!(publisher.protocol, IngestProtocol::Rtmp as i32);

    shows(&scene.api, &scene.key, Some(&id));
    scene.runs("available", &id).await;
    scene.becomes(StreamStatus::Live, &id).await;
    shows(&scene.api, "", None);
    scene.runs("unavailable", &id).await;
    let ended = scene.becomes(StreamStatus::Ended, &id).await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
    scene.assert_silence();
}

#[tokio::test]
async fn a_wrong_key_and_a_second_publisher_are_refused_at_mediamtx() {
    let scene = scene(PublishConflictPolicy::RejectNew).await;
    assert_eq!(scene.auth("sk_wrong", &connection()).await, 403);
    assert!(scene.stream().await.is_none());

    let first = connection();
    scene.live_at_mediamtx(&first).await;
    assert_eq!(scene.auth(&scene.key, &connection()).await, 403);
    let stream = scene.stream().await.unwrap();
    assert_eq!(stream.status(), StreamStatus::Live);
    assert_eq!(stream.publisher.unwrap().connection_id, first);
    scene.assert_silence();
}

#[tokio::test]
async fn who_takes_over_at_mediamtx_is_not_ended_with_the_one_before() {
    let scene = scene(PublishConflictPolicy::Takeover).await;
    let (old, new) = (connection(), connection());
    scene.live_at_mediamtx(&old).await;

    assert_eq!(scene.auth(&scene.key, &new).await, 200);
    shows(&scene.api, &scene.key, Some(&new));
    scene.runs("unavailable", &old).await;
    scene.runs("available", &new).await;
    scene.becomes(StreamStatus::Live, &new).await;
    scene.runs("unavailable", &old).await;
    assert_eq!(
        scene.stream().await.unwrap().status(),
        StreamStatus::Live,
        "the end of the old one comes twice"
    );
}

#[tokio::test]
async fn a_stopped_stream_is_disconnected_at_mediamtx() {
    let scene = scene(PublishConflictPolicy::RejectNew).await;
    let id = connection();
    let kick = format!("POST /v3/rtmpconns/kick/{id}");
    scene.api.answer(&kick, r#"{"status":"ok"}"#);
    scene.live_at_mediamtx(&id).await;
    assert!(!scene.api.was_asked(&kick));

    scene.stop(&scene.stream().await.unwrap()).await;
    eventually("the publisher is disconnected", async || {
        scene.api.was_asked(&kick).then_some(())
    })
    .await;
}
