use std::{
    io,
    net::Ipv4Addr,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, time::sleep};

use super::{
    hooks::Hooks,
    proxy::{Behavior, Proxy, drop_all_segments},
    recordings::{Original, assert_same, has_ended, packets},
    rig::{Nginx, Worker, eventually, publish, publish_with},
};
use crate::proto::v1::{Relay, RelayAssignment, RelayErrorSeverity, RelayState};

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

/// What is logged in the thread of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn has(&self, texts: &[&str]) -> bool {
        let log = self.0.lock().unwrap();
        let log = String::from_utf8_lossy(&log);
        log.lines()
            .any(|line| texts.iter().all(|text| line.contains(text)))
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// 1 Mbit/s, also where the picture needs less.
const CONSTANT_RATE: [&str; 10] = [
    "-b:v",
    "1M",
    "-minrate",
    "1M",
    "-maxrate",
    "1M",
    "-bufsize",
    "1M",
    "-x264-params",
    "nal-hrd=cbr:force-cfr=1",
];
/// Half of it in bytes per second.
const HALF_RATE: u32 = 62_500;

/// Twice as long as the causes need, for a busy machine.
const SECONDS: &str = "40";

/// With the bad ones, 50 destinations of one stream.
const GOOD_DESTINATIONS: usize = 46;

#[tokio::test]
async fn four_bad_destinations_report_their_causes_and_cost_46_others_no_packet() {
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || written.clone());
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let others = Nginx::start(&hooks.url()).await;
    let hole = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    drop_all_segments(&hole);
    let hole_port = hole.local_addr().unwrap().port();
    let slow = Proxy::start(others.port, Behavior::Limits(HALF_RATE)).await;
    let frozen = Proxy::start(others.port, Behavior::ReadsNoMore).await;
    let resetting = Proxy::start(others.port, Behavior::Resets).await;
    let original = Original::encode(SECONDS, &CONSTANT_RATE).await;
    let worker = Worker::new();
    let relay = |url: &str, key: &str| worker.relay_with_key(&nginx.source(), url, key);

    let black_hole = relay(&format!("rtmp://127.0.0.1:{hole_port}/live"), "k3y-hole");
    let slow = worker.assign(RelayAssignment {
        relay: Some(Relay {
            destination_id: "slow".to_owned(),
            ..Default::default()
        }),
        input_url: nginx.source(),
        output_server_url: slow.url(),
        output_stream_key: "k3y-slow".to_owned(),
        ..Default::default()
    });
    let frozen = relay(&frozen.url(), "k3y-frozen");
    let reset = relay(&resetting.url(), "k3y-reset");
    let server = format!("rtmp://127.0.0.1:{}/live", nginx.port);
    let good: Vec<_> = (0..GOOD_DESTINATIONS)
        .map(|at| relay(&server, &format!("k3y-good-{at}")))
        .collect();
    let causes = async {
        frozen.reaches(RelayState::Stalled).await;
        let early = ["DESTINATION_CLOSED_EARLY", "DESTINATION_LOST"];
        assert!(early.contains(&reset.failure().await.code));
        assert_eq!(black_hole.failure().await.code, "CONNECT_TIMEOUT");
        let warning = ["DESTINATION_TOO_SLOW", "\"slow\"", "bitrate_bps"];
        eventually("the slow one is told", async || log.has(&warning)).await;
    };
    let source = nginx.source();
    let mut publishing = pin!(original.publish(&source));
    tokio::select! {
        () = causes => {}
        () = &mut publishing => panic!("the stream ends before all causes are told"),
    }
    publishing.await;

    assert!(slow.now().bytes > 0, "it is sent what it can receive");
    let sent = packets(&original.file).await;
    for relay in &good {
        let now = relay.now();
        assert_eq!((now.quality.dropped_packets, now.failure), (0, None));
    }
    let recordings = nginx.recordings();
    assert_eq!(recordings.len(), GOOD_DESTINATIONS);
    for recording in recordings {
        eventually("the last packets are recorded", async || {
            has_ended(&packets(&recording).await, &sent)
        })
        .await;
        assert_same(&packets(&recording).await, &sent);
    }
}

#[tokio::test]
async fn a_relay_that_has_failed_begins_again_with_a_keyframe_that_has_passed() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let proxy = Proxy::start(nginx.port, Behavior::PassesOn).await;
    let worker = Worker::new();
    let failing = worker.relay(&nginx.source(), &proxy.url());
    let one_keyframe = ["-an", "-g", "100000", "-sc_threshold", "0"];
    let _publisher = publish_with(&nginx.source(), &one_keyframe);
    failing.reaches(RelayState::Broadcasting).await;

    proxy.reset_all();
    assert_eq!(failing.failure().await.code, "DESTINATION_CLOSED_EARLY");
    sleep(Duration::from_secs(1)).await;
    let next = worker.relay(&nginx.source(), &proxy.url());
    next.has_sent(20_000).await;
}
