use std::pin::pin;

use sluice::proto::v1::{EndReason, PublishConflictPolicy, StreamStatus};

use super::{hook_scene::HookScene, stub_api::StubApi};
use crate::harness::eventually;

/// SRS has, in this run, one publisher, or none.
fn shows(api: &StubApi, run: &str, key: &str, client: Option<&str>) {
    let (clients, streams) = match client {
        None => (String::new(), String::new()),
        Some(id) => (
            format!(
                r#"{{"id":"{id}","vhost":"vid-v","stream":"vid-s","ip":"203.0.113.5","url":"/live/{key}",
                "name":"{key}","type":"fmle-publish","publish":true,"alive":3.2,"send_bytes":1,
                "recv_bytes":4800,"kbps":{{"recv_30s":790,"send_30s":0}}}}"#
            ),
            format!(
                r#"{{"id":"vid-s","name":"{key}","vhost":"vid-v","app":"live","recv_bytes":5000,
                "publish":{{"active":true,"cid":"{id}"}},"video":null,"audio":null}}"#
            ),
        ),
    };
    let envelope = |list: &str, items: &str| {
        format!(r#"{{"code":0,"server":"vid-1","service":"{run}","pid":"7","{list}":[{items}]}}"#)
    };
    api.answer("GET /api/v1/clients/", &envelope("clients", &clients));
    api.answer("GET /api/v1/streams/", &envelope("streams", &streams));
}

async fn scene() -> HookScene {
    HookScene::start("srs", PublishConflictPolicy::RejectNew, |api| {
        shows(api, "k1", "", None);
    })
    .await
}

impl HookScene {
    /// A hook of SRS: the code that it is answered.
    async fn says(&self, hook: &str, run: &str, client: &str, key: &str) -> i64 {
        let body = format!(
            r#"{{"server_id":"vid-1","service_id":"{run}","action":"on_{hook}","client_id":"{client}",
            "ip":"203.0.113.5","vhost":"__defaultVhost__","app":"live","tcUrl":"rtmp://203.0.113.1/live",
            "stream":"{key}","param":"","stream_url":"/live/{key}","stream_id":"vid-s"}}"#
        );
        let answer = self.edge.hook(&format!("srs/SECRET/{hook}"), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        answer["code"].as_i64().unwrap()
    }

    async fn live_at_srs(&self, run: &str, client: &str) {
        assert_eq!(self.says("publish", run, client, &self.key).await, 0);
        shows(&self.api, run, &self.key, Some(client));
        self.becomes(StreamStatus::Live, client).await;
    }
}

#[tokio::test]
async fn a_publisher_of_srs_goes_live_and_ends() {
    let scene = scene().await;
    scene.live_at_srs("k1", "a1").await;
    let publisher = scene.stream().await.unwrap().publisher.unwrap();
    assert_eq!((&*publisher.node_id, &*publisher.boot_id), ("n1", "k1"));

    shows(&scene.api, "k1", "", None);
    assert_eq!(scene.says("unpublish", "k1", "a1", &scene.key).await, 0);
    let ended = scene.becomes(StreamStatus::Ended, "a1").await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
    scene.assert_silence();
}

#[tokio::test]
async fn who_takes_over_at_srs_is_let_in_once_the_one_before_has_gone() {
    let scene = HookScene::start("srs", PublishConflictPolicy::Takeover, |api| {
        shows(api, "k1", "", None);
    })
    .await;
    scene.live_at_srs("k1", "a1").await;
    scene
        .api
        .answer("DELETE /api/v1/clients/a1", r#"{"code":0}"#);

    let mut newcomer = pin!(scene.says("publish", "k1", "a2", &scene.key));
    let told = eventually("SRS is told to drop the first", async || {
        let asked = scene.api.was_asked("DELETE /api/v1/clients/a1");
        asked.then_some(())
    });
    tokio::select! {
        code = &mut newcomer => panic!("SRS would find it busy: {code}"),
        () = told => {}
    }
    shows(&scene.api, "k1", "", None);
    assert_eq!(scene.says("unpublish", "k1", "a1", &scene.key).await, 0);

    assert_eq!(newcomer.await, 0);
    shows(&scene.api, "k1", &scene.key, Some("a2"));
    scene.becomes(StreamStatus::Live, "a2").await;
}

#[tokio::test]
async fn a_wrong_key_and_a_second_publisher_are_refused_at_srs() {
    let scene = scene().await;
    assert_eq!(scene.says("publish", "k1", "a0", "sk_wrong").await, 1);
    assert!(scene.stream().await.is_none());

    scene.live_at_srs("k1", "a1").await;
    assert_eq!(scene.says("publish", "k1", "a2", &scene.key).await, 1);
    assert_eq!(scene.says("unpublish", "k1", "a2", &scene.key).await, 0);
    let stream = scene.stream().await.unwrap();
    assert_eq!(stream.status(), StreamStatus::Live);
    assert_eq!(stream.publisher.unwrap().connection_id, "a1");
    scene.assert_silence();
}

#[tokio::test]
async fn who_is_gone_from_srs_without_a_word_is_missed() {
    let scene = scene().await;
    scene.live_at_srs("k1", "a1").await;
    shows(&scene.api, "k1", "", None);
    let ended = scene.becomes(StreamStatus::Ended, "a1").await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
}

#[tokio::test]
async fn a_connection_that_publishes_again_at_srs_goes_live_again() {
    let scene = scene().await;
    scene.live_at_srs("k1", "a1").await;
    assert_eq!(scene.says("unpublish", "k1", "a1", &scene.key).await, 0);
    assert_eq!(scene.says("publish", "k1", "a1", &scene.key).await, 0);
    scene.becomes(StreamStatus::Live, "a1.2").await;
}

#[tokio::test]
async fn a_publisher_of_the_next_run_of_srs_is_live_in_that_run() {
    let scene = scene().await;
    scene.live_at_srs("k1", "a1").await;
    shows(&scene.api, "k2", "", None);
    eventually("the new run lets its publisher in", async || {
        let code = scene.says("publish", "k2", "b1", &scene.key).await;
        (code == 0).then_some(())
    })
    .await;
    shows(&scene.api, "k2", &scene.key, Some("b1"));
    let live = scene.becomes(StreamStatus::Live, "b1").await;
    assert_eq!(live.publisher.unwrap().boot_id, "k2");
}

#[tokio::test]
async fn a_stopped_stream_is_disconnected_at_srs() {
    let scene = scene().await;
    let kick = "DELETE /api/v1/clients/a1";
    scene.api.answer(kick, r#"{"code":0}"#);
    scene.live_at_srs("k1", "a1").await;
    scene.stop(&scene.stream().await.unwrap()).await;
    eventually("the publisher is disconnected", async || {
        scene.api.was_asked(kick).then_some(())
    })
    .await;
}
