use std::{net::Ipv4Addr, time::Duration};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    hooks::Hooks,
    rig::{Nginx, Running, Worker, eventually, publish},
};
use crate::proto::v1::{RelayErrorSeverity, RelayState};

/// How a proxy in front of a destination passes bytes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behavior {
    /// All bytes of the commands, and then none, without closing.
    ReadsNoMore,
    /// It closes after the commands.
    Resets,
}

/// The bytes that it passes on first: the handshake and the commands.
const FIRST_BYTES: usize = 8_000;

/// A proxy to nginx that spoils connections.
struct Proxy {
    port: u16,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    async fn start(behind: u16, behavior: Behavior) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        // Accepted connections inherit it: the kernel acknowledges little that is not read.
        set_socket_recv_buffer_size(&listener, 4096).unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                let inside = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await;
                tokio::spawn(pass_on(outside, inside.unwrap(), behavior));
            }
        });
        Self {
            port,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }
}

async fn pass_on(outside: TcpStream, inside: TcpStream, behavior: Behavior) {
    let (mut from, mut back) = outside.into_split();
    let (mut answers, mut to) = inside.into_split();
    let answering = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    let mut passed = 0;
    let mut buffer = vec![0; 1024];
    while passed < FIRST_BYTES {
        match from.read(&mut buffer).await {
            Ok(count @ 1..) if to.write_all(&buffer[..count]).await.is_ok() => passed += count,
            _ => return,
        }
    }
    match behavior {
        Behavior::ReadsNoMore => std::future::pending().await,
        Behavior::Resets => answering.abort(),
    }
}

#[tokio::test]
async fn a_destination_that_reads_no_more_stalls_and_is_never_broadcasting_afterwards() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let proxy = Proxy::start(nginx.port, Behavior::ReadsNoMore).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    let relay = worker.relay(&nginx.source(), &proxy.url());

    relay.reaches(RelayState::Stalled).await;
    let stalled = relay.now().bytes;
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(
            (relay.now().state, relay.now().bytes),
            (RelayState::Stalled, stalled)
        );
    }
}

#[tokio::test]
async fn a_destination_that_reads_no_more_is_given_up_in_the_end() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let proxy = Proxy::start(nginx.port, Behavior::ReadsNoMore).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::impatient(Duration::from_secs(10));
    let relay = worker.relay(&nginx.source(), &proxy.url());

    let failure = relay.failure().await;
    assert_eq!(failure.code, "NO_PROGRESS", "{}", failure.message);
    assert_eq!(failure.severity, RelayErrorSeverity::Retryable);
}

#[tokio::test]
async fn bad_destinations_affect_no_other() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let frozen = Proxy::start(nginx.port, Behavior::ReadsNoMore).await;
    let resetting = Proxy::start(nginx.port, Behavior::Resets).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    let relay = |url: &str, key: &str| worker.relay_with_key(&nginx.source(), url, key);

    let black_hole = relay(
        &format!("rtmp://127.0.0.1:{silent_port}/live"),
        "k3y-silent",
    );
    let frozen = relay(&frozen.url(), "k3y-frozen");
    let reset = relay(&resetting.url(), "k3y-reset");
    let server = format!("rtmp://127.0.0.1:{}/live", nginx.port);
    let good: Vec<_> = (0..10)
        .map(|at| relay(&server, &format!("k3y-good-{at}")))
        .collect();

    let early = ["DESTINATION_CLOSED_EARLY", "DESTINATION_LOST"];
    frozen.reaches(RelayState::Stalled).await;
    assert!(early.contains(&reset.failure().await.code));
    assert_eq!(black_hole.failure().await.code, "CONNECT_TIMEOUT");
    let sent = |relay: &Running| relay.now().bytes;
    let before: Vec<_> = good.iter().map(sent).collect();
    eventually("all others go on", async || {
        good.iter()
            .zip(&before)
            .all(|(relay, before)| sent(relay) > before + 10_000)
    })
    .await;
    for relay in &good {
        assert_eq!(relay.now().state, RelayState::Broadcasting);
    }
}
