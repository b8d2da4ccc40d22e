use std::time::{Duration, Instant};

use rstest::rstest;

use super::{
    hooks::Hooks,
    recordings::{Original, assert_same, has_ended, packets},
    rig::{Nginx, Worker, eventually},
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
