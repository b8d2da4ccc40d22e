use std::time::{Duration, Instant};

use rstest::rstest;

use super::{
    hooks::Hooks,
    proxy::{Behavior, Proxy},
    recordings::{Original, assert_same, has_ended, of_track, packets},
    rig::{Nginx, Running, Worker, eventually},
    rtmps::Terminator,
    srt::{Recorder, assignment},
};
use crate::proto::v1::{RelayAssignment, RelayState};

const SECONDS: &str = "8";

#[rstest]
#[tokio::test]
async fn every_packet_arrives_unchanged_with_its_distance_to_the_others(
    #[values(false, true)] over_tls: bool,
) {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let terminator = Terminator::start(nginx.port, "localhost", "2").await;
    let original = Original::encode(SECONDS, &[]).await;
    let worker = Worker::trusting(vec![terminator.certificate.clone()]);
    let server = match over_tls {
        true => terminator.url(),
        false => format!("rtmp://127.0.0.1:{}/live", nginx.port),
    };
    let relay = worker.relay(&nginx.source(), &server);
    original.publish(&nginx.source()).await;

    let sent = packets(&original.file).await;
    eventually("the last packets are recorded", async || {
        let recording = nginx.recordings().pop();
        match recording {
            Some(recording) => has_ended(&packets(&recording).await, &sent),
            None => false,
        }
    })
    .await;
    relay.end().await;
    assert_same(&packets(&nginx.recordings()[0]).await, &sent);
}

#[tokio::test]
async fn a_delayed_destination_receives_every_packet_later() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let original = Original::encode(SECONDS, &[]).await;
    let worker = Worker::new();
    let delay = Duration::from_secs(4);
    let relay = worker.assign(RelayAssignment {
        input_url: nginx.source(),
        output_server_url: format!("rtmp://127.0.0.1:{}/live", nginx.port),
        output_stream_key: "k3y".to_owned(),
        output_delay: Some(delay.try_into().unwrap()),
        ..Default::default()
    });
    let begin = Instant::now();
    let broadcasts = async {
        relay.reaches(RelayState::Broadcasting).await;
        assert!(begin.elapsed() >= delay);
    };
    let source = nginx.source();
    tokio::join!(broadcasts, original.publish(&source));

    let sent = packets(&original.file).await;
    eventually("the last packets are recorded", async || {
        has_ended(&packets(&nginx.recordings()[0]).await, &sent)
    })
    .await;
    relay.end().await;
    assert_same(&packets(&nginx.recordings()[0]).await, &sent);
}

/// A relay to a destination with a delay that is longer than the stream.
fn delayed(worker: &Worker, nginx: &Nginx, delay: Duration) -> Running {
    worker.assign(RelayAssignment {
        input_url: nginx.source(),
        output_server_url: format!("rtmp://127.0.0.1:{}/live", nginx.port),
        output_stream_key: "k3y".to_owned(),
        output_delay: Some(delay.try_into().unwrap()),
        ..Default::default()
    })
}

#[tokio::test]
async fn what_a_delay_holds_back_at_the_end_of_the_stream_arrives_before_the_relay_ends() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let original = Original::encode(SECONDS, &[]).await;
    let worker = Worker::new();
    let relay = delayed(&worker, &nginx, Duration::from_secs(12));
    eventually("it publishes", async || !hooks.heard().is_empty()).await;
    original.publish(&nginx.source()).await;

    relay.drains();
    let ended = relay.reaches(RelayState::Idle).await;
    assert_eq!(ended.failure, None);
    let sent = packets(&original.file).await;
    let arrived = packets(&nginx.recordings()[0]).await;
    assert!(has_ended(&arrived, &sent));
    assert_same(&arrived, &sent);
    let heard = hooks.heard();
    let is_told = heard
        .iter()
        .any(|asked| asked.contains("call=publish_done"));
    assert!(is_told, "the stream is ended at the destination: {heard:?}");
}

#[tokio::test]
async fn what_a_delay_holds_back_for_srt_at_the_end_of_the_stream_arrives_before_the_relay_ends() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let original = Original::encode(SECONDS, &[]).await;
    let recorder = Recorder::start("").await;
    let worker = Worker::new();
    let delay = Duration::from_secs(12);
    let relay = worker.assign(RelayAssignment {
        output_delay: Some(delay.try_into().unwrap()),
        // What a listener holds back for its latency is lost when the caller closes.
        output_server_url: format!("srt://127.0.0.1:{}?latency=200000", recorder.port),
        ..assignment(&nginx.source(), recorder.port, "")
    });
    original.publish(&nginx.source()).await;
    relay.drains();
    let ended = relay.reaches(RelayState::Idle).await;
    assert_eq!(ended.failure, None);

    let sent = of_track(&packets(&original.as_mpegts().await).await, "0");
    let (file, _folder) = recorder.finished().await;
    let (_, last) = of_track(&packets(&file).await, "0").pop().unwrap();
    let at = sent
        .iter()
        .rposition(|(_, digest)| *digest == last)
        .unwrap();
    let missing = sent.len() - 1 - at;
    assert!(
        missing < 25,
        "{missing} of {} pictures are missing",
        sent.len()
    );
}

#[tokio::test]
async fn a_connection_that_is_lost_while_the_relay_drains_is_replaced() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let proxy = Proxy::start(nginx.port, Behavior::PassesOn).await;
    // A connection has proved itself after 10 seconds.
    let original = Original::encode("16", &[]).await;
    let worker = Worker::new();
    let relay = worker.assign(RelayAssignment {
        output_server_url: proxy.url(),
        input_url: nginx.source(),
        output_stream_key: "k3y".to_owned(),
        output_delay: Some(Duration::from_secs(6).try_into().unwrap()),
        ..Default::default()
    });
    original.publish(&nginx.source()).await;
    relay.drains();
    proxy.reset_all();
    let ended = relay.reaches(RelayState::Idle).await;
    assert_eq!(ended.failure, None);
    let sent = packets(&original.file).await;
    let last = nginx.recordings().pop().unwrap();
    assert!(has_ended(&packets(&last).await, &sent));
    assert_eq!(nginx.recordings().len(), 2);
}

#[tokio::test]
async fn a_relay_that_is_stopped_while_it_drains_sends_nothing_more() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let original = Original::encode(SECONDS, &[]).await;
    let worker = Worker::new();
    let relay = delayed(&worker, &nginx, Duration::from_secs(60));
    eventually("it publishes", async || !hooks.heard().is_empty()).await;
    original.publish(&nginx.source()).await;
    relay.drains();
    assert_eq!(relay.now().state, RelayState::Starting);
    relay.end().await;
    assert_eq!(relay.now().bytes, 0);
}

#[tokio::test]
async fn every_packet_arrives_unchanged_over_srt_with_a_passphrase() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let original = Original::encode(SECONDS, &[]).await;
    let passphrase = "a passphrase that all may see";
    let recorder = Recorder::start(passphrase).await;
    let worker = Worker::new();
    let relay = worker.assign(assignment(&nginx.source(), recorder.port, passphrase));
    original.publish(&nginx.source()).await;

    // ffmpeg sends the last packets when its input ends.
    relay.has_sent(1).await;
    relay.is_silent().await;
    relay.end().await;
    let sent = packets(&original.as_mpegts().await).await;
    let (file, _folder) = recorder.finished().await;
    let arrived = packets(&file).await;
    assert_same(&arrived, &sent);
    assert_eq!(relay.now().state, RelayState::Idle);
}
