//! The proof of delivery, and connections that are replaced.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    hooks::Hooks,
    proxy::{Behavior, Proxy},
    rig::{Nginx, Worker, eventually, publish},
};
use crate::proto::v1::RelayState;

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
    let publishes = || {
        let heard = hooks.heard();
        let begun = heard.iter().filter(|asked| asked.contains("call=publish&"));
        begun.count()
    };
    assert_eq!(publishes(), 2);
    relay.reaches(RelayState::Broadcasting).await;
    relay.end().await;
}
