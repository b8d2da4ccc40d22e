//! The proof of delivery, and connections that are replaced.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    hooks::Hooks,
    proxy::{Behavior, Proxy},
    rig::{KEY, Nginx, Worker, eventually, publish},
    server::Server,
};
use crate::proto::v1::{Relay, RelayAssignment, RelayState};

#[tokio::test]
async fn an_output_connects_and_publishes_before_there_is_media() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let worker = Worker::new();
    let server = format!("rtmp://127.0.0.1:{}/live", nginx.port);
    let relay = worker.relay(&nginx.source(), &server);

    eventually("it publishes", async || !hooks.heard().is_empty()).await;
    assert_eq!(
        (relay.now().state, relay.now().bytes),
        (RelayState::Starting, 0)
    );
    let _publisher = publish(&nginx.source());
    relay.reaches(RelayState::Broadcasting).await;
    assert_eq!(hooks.heard().len(), 1, "on the same connection");
    relay.end().await;
}

#[tokio::test]
async fn replies_to_pings_prove_no_delivery() {
    let hooks = Hooks::start(200).await;
    let input = Nginx::start(&hooks.url()).await;
    let output = Nginx::start_with(&hooks.url(), "ping 500ms; ping_timeout 5s;").await;
    let publisher = publish(&input.source());
    let worker = Worker::new();
    let server = format!("rtmp://127.0.0.1:{}/live", output.port);
    let relay = worker.relay(&input.source(), &server);
    relay.has_sent(10_000).await;

    drop(publisher);
    relay.reaches(RelayState::Stalled).await;
    let delivered = relay.now().bytes;
    for _ in 0..30 {
        sleep(Duration::from_millis(100)).await;
        let now = relay.now();
        assert_eq!((now.state, now.bytes), (RelayState::Stalled, delivered));
    }
    let _publisher = publish(&input.source());
    relay.reaches(RelayState::Broadcasting).await;
    assert_eq!(hooks.heard().len(), 1, "nginx saw answers to its pings");
    relay.end().await;
}

#[tokio::test]
async fn a_proven_connection_that_is_reset_is_replaced_and_the_bytes_are_added() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let proxy = Proxy::start(nginx.port, Behavior::PassesOn).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    let relay = worker.relay(&nginx.source(), &proxy.url());
    relay.has_sent(1).await;
    // Sooner, the destination may have refused the stream.
    sleep(Duration::from_secs(12)).await;

    let before = relay.now().bytes;
    proxy.reset_all();
    relay.has_sent(before + 10_000).await;
    assert_eq!(publishes(&hooks), 2);
    relay.reaches(RelayState::Broadcasting).await;
    relay.end().await;
}

fn publishes(hooks: &Hooks) -> usize {
    let heard = hooks.heard();
    let begun = heard.iter().filter(|asked| asked.contains("call=publish&"));
    begun.count()
}

#[tokio::test]
async fn a_connection_that_is_cut_is_replaced_when_the_destination_answers_again() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let proxy = Proxy::start(nginx.port, Behavior::PassesOn).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    let relay = worker.relay(&nginx.source(), &proxy.url());
    relay.has_sent(10_000).await;

    for cut in 1..=2 {
        proxy.cut();
        let stalled = relay.reaches(RelayState::Stalled).await;
        // The kernel would now wait for seconds before it sends again.
        sleep(Duration::from_secs(2)).await;
        assert_eq!(relay.now().state, RelayState::Stalled);
        assert_eq!(relay.now().bytes, stalled.bytes);

        proxy.restore();
        relay.reaches(RelayState::Broadcasting).await;
        relay.has_sent(stalled.bytes + 10_000).await;
        assert_eq!(publishes(&hooks), 1 + cut, "once for each connection");
    }
    relay.end().await;
}

#[tokio::test]
async fn a_destination_that_answers_nothing_for_too_long_is_given_up_as_such() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let proxy = Proxy::start(nginx.port, Behavior::PassesOn).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::impatient(Duration::from_secs(10));
    let relay = worker.relay(&nginx.source(), &proxy.url());
    relay.has_sent(10_000).await;

    proxy.cut();
    let failure = relay.failure().await;
    assert_eq!(failure.code, "CONNECT_TIMEOUT", "{}", failure.message);
    assert_eq!(relay.now().state, RelayState::Retrying);
}

#[tokio::test]
async fn a_retried_relay_reaches_its_destination_when_that_is_back() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let proxy = Proxy::start(nginx.port, Behavior::PassesOn).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    proxy.cut();
    // As the control plane assigns it after a failure.
    let relay = worker.assign(RelayAssignment {
        relay: Some(Relay {
            last_progress_time: Some(prost_types::Timestamp::default()),
            ..Default::default()
        }),
        input_url: nginx.source(),
        output_server_url: proxy.url(),
        output_stream_key: "k3y".to_owned(),
        ..Default::default()
    });
    // The kernel would now wait for four seconds before it asks again.
    sleep(Duration::from_millis(3_200)).await;
    assert_eq!(relay.now().state, RelayState::Starting);

    proxy.restore();
    relay.has_sent(10_000).await;
    relay.reaches(RelayState::Broadcasting).await;
    assert_eq!(publishes(&hooks), 1);
    relay.end().await;
}

#[tokio::test]
async fn a_relay_that_is_given_up_ends_its_stream_at_the_destination() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let destination = Server::start(&[]).await;
    let publisher = publish(&nginx.source());
    let worker = Worker::impatient(Duration::from_secs(5));
    let server_url = format!("rtmp://127.0.0.1:{}/live", destination.port);
    let relay = worker.relay(&nginx.source(), &server_url);
    relay.has_sent(10_000).await;

    drop(publisher);
    assert_eq!(relay.failure().await.code, "NO_PROGRESS");
    assert_eq!(destination.deleted(), [KEY]);
}
