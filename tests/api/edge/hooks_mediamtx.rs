use sluice::proto::v1::{EndReason, IngestProtocol, PublishConflictPolicy, StreamState};

use super::{
    hook_fixture::{HookFixture, new_connection_id},
    stub_api::StubApi,
};
use crate::harness::{HttpResponse, eventually};

/// Sets the path list of MediaMTX: one path with this RTMP connection, or none.
fn show_publisher(api: &StubApi, key: &str, id: Option<&str>) {
    show_source(api, key, id.map(|id| ("rtmpConn", id)));
}

/// Sets the path list of MediaMTX: one path with a source of this type and id, or none.
fn show_source(api: &StubApi, key: &str, source: Option<(&str, &str)>) {
    let path = source.map(|(kind, id)| {
        format!(
            r#"{{"name":"live/{key}","confName":"all_others","ready":true,"available":true,"online":true,
            "source":{{"type":"{kind}","id":"{id}"}},"tracks":["H264","MPEG-4 Audio"],
            "inboundBytes":4321,"outboundBytes":0,"readers":[]}}"#
        )
    });
    let count = path.iter().count();
    let items = path.unwrap_or_default();
    let list = format!(r#"{{"itemCount":{count},"pageCount":{count},"items":[{items}]}}"#);
    api.answer("GET /v3/paths/list", &list);
}

async fn fixture(policy: PublishConflictPolicy) -> HookFixture {
    HookFixture::start("mediamtx", policy, |api| {
        let info = r#"{"version":"v1.17.0","started":"2026-11-22T21:00:00.123456789Z"}"#;
        api.answer("GET /v3/info", info);
        api.answer("GET /v3/rtmpconns/list", r#"{"pageCount":0,"items":[]}"#);
        show_publisher(api, "", None);
    })
    .await
}

impl HookFixture {
    async fn auth(&self, key: &str, id: &str) -> u16 {
        self.auth_over("rtmp", key, id).await.status
    }

    async fn auth_over(&self, protocol: &str, key: &str, id: &str) -> HttpResponse {
        let body = format!(
            r#"{{"ip":"203.0.113.5","user":"","password":"","token":"","action":"publish","path":"live/{key}",
            "protocol":"{protocol}","id":"{id}","query":"","userAgent":"FMLE/3.0"}}"#
        );
        self.edge.hook("mediamtx/SECRET/auth", &body).await
    }

    async fn run_hook(&self, hook: &str, id: &str) {
        let form = format!("source_id={id}&source_type=rtmpConn");
        let path = format!("mediamtx/SECRET/{hook}");
        assert_eq!(self.edge.hook(&path, &form).await.status, 200);
    }

    async fn go_live_on_mediamtx(&self, id: &str) {
        assert_eq!(self.auth(&self.key, id).await, 200);
        show_publisher(&self.api, &self.key, Some(id));
        self.run_hook("available", id).await;
        self.wait_for_state(StreamState::Live, id).await;
    }
}

#[tokio::test]
async fn a_publisher_of_mediamtx_goes_live_and_ends() {
    let fixture = fixture(PublishConflictPolicy::RejectNew).await;
    let id = new_connection_id();
    assert_eq!(fixture.auth(&fixture.key, &id).await, 200);
    let begun = fixture.wait_for_state(StreamState::Connecting, &id).await;
    let publisher = begun.publisher.unwrap();
    assert_eq!(publisher.node_id, "n1");
    assert_eq!(publisher.boot_id, "2026-11-22T21:00:00.123456789Z");
    assert_eq!(publisher.peer_address, "203.0.113.5");
    assert_eq!(publisher.protocol, IngestProtocol::Rtmp as i32);

    show_publisher(&fixture.api, &fixture.key, Some(&id));
    fixture.run_hook("available", &id).await;
    fixture.wait_for_state(StreamState::Live, &id).await;
    show_publisher(&fixture.api, "", None);
    fixture.run_hook("unavailable", &id).await;
    let ended = fixture.wait_for_state(StreamState::Ended, &id).await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
    fixture.assert_no_secret_in_log();
}

#[tokio::test]
async fn a_wrong_key_and_a_second_publisher_are_refused_at_mediamtx() {
    let fixture = fixture(PublishConflictPolicy::RejectNew).await;
    assert_eq!(fixture.auth("sk_wrong", &new_connection_id()).await, 403);
    assert!(fixture.stream().await.is_none());

    let first = new_connection_id();
    fixture.go_live_on_mediamtx(&first).await;
    assert_eq!(fixture.auth(&fixture.key, &new_connection_id()).await, 403);
    let stream = fixture.stream().await.unwrap();
    assert_eq!(stream.state(), StreamState::Live);
    assert_eq!(stream.publisher.unwrap().connection_id, first);
    fixture.assert_no_secret_in_log();
}

#[tokio::test]
async fn publishers_of_a_protocol_that_the_edge_cannot_list_or_disconnect_are_refused_at_mediamtx()
{
    let fixture = fixture(PublishConflictPolicy::RejectNew).await;
    for protocol in ["moq", "hls", "RTMP", ""] {
        let id = new_connection_id();
        let answer = fixture.auth_over(protocol, &fixture.key, &id).await;
        assert_eq!(answer.status, 403, "{protocol}");
        let reason = "the edge does not support publishers of this protocol";
        assert_eq!(answer.body.trim(), reason);
    }
    assert!(fixture.stream().await.is_none());
    assert!(fixture.edge.log().contains("moq"));
    fixture.assert_no_secret_in_log();
}

#[tokio::test]
async fn every_protocol_that_the_edge_accepts_can_be_listed_and_disconnected_at_mediamtx() {
    for (protocol, source, list) in [
        ("rtmp", "rtmpConn", "rtmpconns"),
        ("rtmps", "rtmpsConn", "rtmpsconns"),
        ("srt", "srtConn", "srtconns"),
        ("webrtc", "webRTCSession", "webrtcsessions"),
        ("rtsp", "rtspSession", "rtspsessions"),
        ("rtsps", "rtspsSession", "rtspssessions"),
    ] {
        let fixture = fixture(PublishConflictPolicy::RejectNew).await;
        let id = new_connection_id();
        let kick = format!("POST /v3/{list}/kick/{id}");
        fixture.api.answer(&kick, r#"{"status":"ok"}"#);
        let answer = fixture.auth_over(protocol, &fixture.key, &id).await;
        assert_eq!(answer.status, 200, "{protocol}");
        show_source(&fixture.api, &fixture.key, Some((source, &id)));
        let stream = fixture.wait_for_state(StreamState::Live, &id).await;

        fixture.stop(&stream).await;
        eventually("the publisher is disconnected", async || {
            fixture.api.was_requested(&kick).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_end_of_a_replaced_publisher_at_mediamtx_does_not_end_the_new_one() {
    let fixture = fixture(PublishConflictPolicy::Takeover).await;
    let (old, new) = (new_connection_id(), new_connection_id());
    fixture.go_live_on_mediamtx(&old).await;

    assert_eq!(fixture.auth(&fixture.key, &new).await, 200);
    show_publisher(&fixture.api, &fixture.key, Some(&new));
    fixture.run_hook("unavailable", &old).await;
    fixture.run_hook("available", &new).await;
    fixture.wait_for_state(StreamState::Live, &new).await;
    fixture.run_hook("unavailable", &old).await;
    assert_eq!(
        fixture.stream().await.unwrap().state(),
        StreamState::Live,
        "the end of the old one comes twice"
    );
}

#[tokio::test]
async fn a_stopped_stream_is_disconnected_at_mediamtx() {
    let fixture = fixture(PublishConflictPolicy::RejectNew).await;
    let id = new_connection_id();
    let kick = format!("POST /v3/rtmpconns/kick/{id}");
    fixture.api.answer(&kick, r#"{"status":"ok"}"#);
    fixture.go_live_on_mediamtx(&id).await;
    assert!(!fixture.api.was_requested(&kick));

    fixture.stop(&fixture.stream().await.unwrap()).await;
    eventually("the publisher is disconnected", async || {
        fixture.api.was_requested(&kick).then_some(())
    })
    .await;
}
