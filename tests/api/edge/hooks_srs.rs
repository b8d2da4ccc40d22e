use std::pin::pin;

use sluice::proto::v1::{EndReason, PublishConflictPolicy, StreamState};

use super::{hook_fixture::HookFixture, stub_api::StubApi};
use crate::harness::eventually;

/// Sets the client and stream lists of SRS: one publisher, or none.
fn show_publisher(api: &StubApi, run: &str, key: &str, client: Option<&str>) {
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

async fn fixture() -> HookFixture {
    HookFixture::start("srs", PublishConflictPolicy::RejectNew, |api| {
        show_publisher(api, "k1", "", None);
    })
    .await
}

impl HookFixture {
    /// Sends a callback of SRS; returns the code of the response.
    async fn callback(&self, hook: &str, run: &str, client: &str, key: &str) -> i64 {
        let body = format!(
            r#"{{"server_id":"vid-1","service_id":"{run}","action":"on_{hook}","client_id":"{client}",
            "ip":"203.0.113.5","vhost":"__defaultVhost__","app":"live","tcUrl":"rtmp://203.0.113.1/live",
            "stream":"{key}","param":"","stream_url":"/live/{key}","stream_id":"vid-s"}}"#
        );
        let answer = self.edge.hook(&format!("srs/SECRET/{hook}"), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        answer["code"].as_i64().unwrap()
    }

    async fn go_live_on_srs(&self, run: &str, client: &str) {
        assert_eq!(self.callback("publish", run, client, &self.key).await, 0);
        show_publisher(&self.api, run, &self.key, Some(client));
        self.wait_for_state(StreamState::Live, client).await;
    }
}

#[tokio::test]
async fn a_publisher_of_srs_goes_live_and_ends() {
    let fixture = fixture().await;
    fixture.go_live_on_srs("k1", "a1").await;
    let publisher = fixture.stream().await.unwrap().publisher.unwrap();
    assert_eq!((&*publisher.node_id, &*publisher.boot_id), ("n1", "k1"));

    show_publisher(&fixture.api, "k1", "", None);
    assert_eq!(
        fixture
            .callback("unpublish", "k1", "a1", &fixture.key)
            .await,
        0
    );
    let ended = fixture.wait_for_state(StreamState::Ended, "a1").await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
    fixture.assert_no_secret_in_log();
}

#[tokio::test]
async fn a_takeover_at_srs_is_accepted_once_the_previous_publisher_has_gone() {
    let fixture = HookFixture::start("srs", PublishConflictPolicy::Takeover, |api| {
        show_publisher(api, "k1", "", None);
    })
    .await;
    fixture.go_live_on_srs("k1", "a1").await;
    fixture
        .api
        .answer("DELETE /api/v1/clients/a1", r#"{"code":0}"#);

    let mut new_publisher = pin!(fixture.callback("publish", "k1", "a2", &fixture.key));
    let told = eventually(
        "SRS is asked to disconnect the first publisher",
        async || {
            let asked = fixture.api.was_requested("DELETE /api/v1/clients/a1");
            asked.then_some(())
        },
    );
    tokio::select! {
        code = &mut new_publisher => panic!("SRS would find it busy: {code}"),
        () = told => {}
    }
    show_publisher(&fixture.api, "k1", "", None);
    assert_eq!(
        fixture
            .callback("unpublish", "k1", "a1", &fixture.key)
            .await,
        0
    );

    assert_eq!(new_publisher.await, 0);
    show_publisher(&fixture.api, "k1", &fixture.key, Some("a2"));
    fixture.wait_for_state(StreamState::Live, "a2").await;
}

#[tokio::test]
async fn a_wrong_key_and_a_second_publisher_are_refused_at_srs() {
    let fixture = fixture().await;
    assert_eq!(fixture.callback("publish", "k1", "a0", "sk_wrong").await, 1);
    assert!(fixture.stream().await.is_none());

    fixture.go_live_on_srs("k1", "a1").await;
    assert_eq!(
        fixture.callback("publish", "k1", "a2", &fixture.key).await,
        1
    );
    assert_eq!(
        fixture
            .callback("unpublish", "k1", "a2", &fixture.key)
            .await,
        0
    );
    let stream = fixture.stream().await.unwrap();
    assert_eq!(stream.state(), StreamState::Live);
    assert_eq!(stream.publisher.unwrap().connection_id, "a1");
    fixture.assert_no_secret_in_log();
}

#[tokio::test]
async fn a_publisher_that_disappears_from_srs_without_a_callback_has_ended() {
    let fixture = fixture().await;
    fixture.go_live_on_srs("k1", "a1").await;
    show_publisher(&fixture.api, "k1", "", None);
    let ended = fixture.wait_for_state(StreamState::Ended, "a1").await;
    assert_eq!(ended.end_reason(), EndReason::PublisherEnded);
}

#[tokio::test]
async fn a_connection_that_publishes_again_at_srs_goes_live_again() {
    let fixture = fixture().await;
    fixture.go_live_on_srs("k1", "a1").await;
    assert_eq!(
        fixture
            .callback("unpublish", "k1", "a1", &fixture.key)
            .await,
        0
    );
    assert_eq!(
        fixture.callback("publish", "k1", "a1", &fixture.key).await,
        0
    );
    fixture.wait_for_state(StreamState::Live, "a1.2").await;
}

#[tokio::test]
async fn a_publisher_after_a_restart_of_srs_is_live_with_the_new_boot_id() {
    let fixture = fixture().await;
    fixture.go_live_on_srs("k1", "a1").await;
    show_publisher(&fixture.api, "k2", "", None);
    eventually("the new run accepts its publisher", async || {
        let code = fixture.callback("publish", "k2", "b1", &fixture.key).await;
        (code == 0).then_some(())
    })
    .await;
    show_publisher(&fixture.api, "k2", &fixture.key, Some("b1"));
    let live = fixture.wait_for_state(StreamState::Live, "b1").await;
    assert_eq!(live.publisher.unwrap().boot_id, "k2");
}

#[tokio::test]
async fn a_stopped_stream_is_disconnected_at_srs() {
    let fixture = fixture().await;
    let kick = "DELETE /api/v1/clients/a1";
    fixture.api.answer(kick, r#"{"code":0}"#);
    fixture.go_live_on_srs("k1", "a1").await;
    fixture.stop(&fixture.stream().await.unwrap()).await;
    eventually("the publisher is disconnected", async || {
        fixture.api.was_requested(kick).then_some(())
    })
    .await;
}
