//! The operations port of an edge.

use sluice::proto::v1 as pb;

use super::{
    hook_edge::HookEdge, relay_fixture::RelayFixture, stub_api::StubApi, stub_ffmpeg::StubFfmpeg,
};
use crate::{
    harness::{Proxy, Sqlite, TestServer, eventually, http},
    operations::{
        dashboards::{assert_exported, dashboard, promtool, rules},
        scrape::Scrape,
    },
};

/// The lists of an SRS without publishers.
fn show_no_publisher(api: &StubApi) {
    for list in ["clients", "streams"] {
        let text = format!(r#"{{"code":0,"server":"vid-1","service":"k1","pid":"7","{list}":[]}}"#);
        api.answer(&format!("GET /api/v1/{list}/"), &text);
    }
}

/// Waits until `/readyz` has this status and text.
async fn wait_for_readiness(edge: &HookEdge, status: u16, text: &str) {
    let address = edge.operations_address().await;
    eventually("the readiness", async || {
        let answer = http(&address, "GET", "/readyz", "").await;
        (answer.status == status && answer.body.contains(text)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_edge_is_ready_while_the_media_server_and_the_control_plane_answer() {
    let server = TestServer::start(Sqlite).await;
    let mut proxy = Proxy::to(server.address).await;
    let control_plane = format!("http://{}", proxy.address);
    let api = StubApi::start().await;
    let edge = HookEdge::start_with(&server, &control_plane, "srs", &api, &[]).await;
    wait_for_readiness(&edge, 503, "SLUICE_MEDIA_SERVER_API").await;

    show_no_publisher(&api);
    wait_for_readiness(&edge, 200, "serving").await;
    let address = edge.operations_address().await;
    let ready = Scrape::at(&address).await.value("sluice_edge_ready", &[]);
    assert_eq!(ready, Some(1.0));

    proxy.disconnect().await;
    wait_for_readiness(&edge, 503, "SLUICE_CONTROL_PLANE").await;
    let ready = Scrape::at(&address).await.value("sluice_edge_ready", &[]);
    assert_eq!(ready, Some(0.0));
    assert_eq!(http(&address, "GET", "/livez", "").await.status, 200);

    proxy.reconnect().await;
    wait_for_readiness(&edge, 200, "serving").await;
}

#[tokio::test]
async fn an_edge_with_a_wrong_api_key_is_not_ready_and_says_so() {
    let server = TestServer::start(Sqlite).await;
    let control_plane = format!("http://{}", server.address);
    let api = StubApi::start().await;
    show_no_publisher(&api);
    let edge = HookEdge::start_with_wrong_key(&control_plane, "srs", &api).await;

    wait_for_readiness(&edge, 503, "SLUICE_API_KEY").await;
}

#[tokio::test]
async fn hooks_are_counted_by_their_outcome_also_where_the_status_does_not_show_it() {
    let server = TestServer::start(Sqlite).await;
    let api = StubApi::start().await;
    show_no_publisher(&api);
    let edge = HookEdge::start(&server, "srs", &api).await;
    wait_for_readiness(&edge, 200, "serving").await;

    let publish = r#"{"service_id":"k1","action":"on_publish","client_id":"c1","ip":"203.0.113.5",
        "app":"live","tcUrl":"rtmp://203.0.113.1/live","stream":"no-such-key"}"#;
    let refused = edge.hook("srs/SECRET/publish", publish).await;
    assert_eq!(refused.status, 200, "{}", refused.body);
    edge.hook("srs/SECRET/publish", "{}").await;
    edge.hook("srs/0123456789abcdeX/publish", publish).await;

    let scrape = Scrape::at(&edge.operations_address().await).await;
    let hooks = |outcome: &str| {
        let labels = [r#"hook="publish""#, &format!(r#"outcome="{outcome}""#)];
        scrape.value("sluice_edge_hooks_total", &labels)
    };
    assert_eq!(hooks("refused"), Some(1.0), "{}", scrape.text);
    assert_eq!(hooks("invalid"), Some(1.0));
    assert_eq!(hooks("accepted"), None);
    let unknown = scrape.value("sluice_edge_unknown_requests_total", &[]);
    assert_eq!(unknown, Some(1.0));
    let calls = [r#"method="BeginPublish""#, r#"code="PermissionDenied""#];
    assert_eq!(scrape.value("sluice_edge_calls_total", &calls), Some(1.0));
    assert!(!scrape.text.contains("no-such-key"), "no key is a label");
}

/// An edge whose relay fails, and a hook: each metric has a value.
#[tokio::test]
async fn the_dashboard_and_the_alerts_of_edges_use_only_existing_metrics_and_labels() {
    let fixture = RelayFixture::start().await;
    fixture.ffmpeg.set_behavior("fails");
    let edge = fixture.edge(&[]);
    fixture.destination("a").await;
    fixture.begin_live_stream().await;
    let hooks = edge.logged("serving hooks", "address").await;
    let path = "/hooks/nginx-rtmp/0123456789abcdef/publish";
    assert_eq!(http(&hooks, "POST", path, "").await.status, 400);

    let operations = edge.logged("serving operations", "port").await;
    let scrape = eventually("a relay has failed", async || {
        let scrape = Scrape::at(&operations).await;
        let failures = scrape.value("sluice_edge_relay_failures_total", &[]);
        (failures > Some(0.0)).then_some(scrape)
    })
    .await;

    promtool(&["check", "metrics"], &scrape.text).await;
    let (_, rules) = rules();
    assert_exported(&scrape, "the dashboard", &dashboard("sluice-edge"), 14);
    assert_exported(&scrape, "the rules", &rules, 8);
    let limit = scrape.value("sluice_edge_relays_limit", &[]);
    assert_eq!(limit, Some(20.0));
}

#[tokio::test]
async fn running_relays_are_counted_by_their_state() {
    let fixture = RelayFixture::start().await;
    let edge = fixture.edge(&[]);
    let (stream, _, _) = fixture.running_relay().await;
    fixture
        .wait_for_state(&stream, pb::RelayState::Starting)
        .await;

    let operations = edge.logged("serving operations", "port").await;
    eventually("the relay is counted", async || {
        let scrape = Scrape::at(&operations).await;
        let relays = |state: &str| {
            let state = format!(r#"state="{state}""#);
            scrape.value("sluice_edge_relays", &[&state])
        };
        (relays("starting") == Some(1.0) && relays("broadcasting") == Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_ffmpeg_is_logged_at_the_start() {
    let fixture = RelayFixture::start().await;
    let missing = RelayFixture {
        ffmpeg: StubFfmpeg::missing(),
        ..fixture
    };
    let edge = missing.edge(&[]);

    let program = edge
        .logged(
            "ffmpeg is missing (SLUICE_FFMPEG): SRT relays need it",
            "program",
        )
        .await;
    assert_eq!(program, missing.ffmpeg.program().display().to_string());
}
