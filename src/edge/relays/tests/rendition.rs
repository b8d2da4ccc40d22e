use rustix::process::{Pid, Signal, kill_process};

use super::{
    hooks::Hooks,
    recordings::{Original, height, of_track, packets},
    rig::{Nginx, Worker, eventually, publish},
};
use crate::proto::v1::{RelayAssignment, RelayState};

fn assignment(nginx: &Nginx, max_height: i32) -> RelayAssignment {
    RelayAssignment {
        input_url: nginx.source(),
        output_server_url: format!("rtmp://127.0.0.1:{}/live", nginx.port),
        output_stream_key: "k3y-limited".to_owned(),
        max_height,
        max_video_bitrate_kbps: 200,
        ..Default::default()
    }
}

/// The process ids of the encoder with this option.
fn encoder(option: &str) -> Vec<Pid> {
    let folders = std::fs::read_dir("/proc").unwrap();
    let pids = folders.filter_map(|folder| {
        let folder = folder.ok()?;
        let line = std::fs::read(folder.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        let is_encoder = line.starts_with("ffmpeg") && line.contains(option);
        let pid = folder.file_name().to_str()?.parse().ok()?;
        is_encoder.then_some(pid).and_then(Pid::from_raw)
    });
    pids.collect()
}

fn kill(pids: &[Pid]) {
    for pid in pids {
        let _ = kill_process(*pid, Signal::KILL);
    }
}

#[tokio::test]
async fn a_destination_with_limits_receives_a_smaller_picture_and_the_same_audio() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let original = Original::encode("12", &[]).await;
    let worker = Worker::new();
    let relay = worker.assign(assignment(&nginx, 90));
    original.publish(&nginx.source()).await;
    relay.reaches(RelayState::Broadcasting).await;

    let file = nginx.recordings().remove(0);
    eventually("media is recorded", async || {
        packets(&file).await.len() > 200
    })
    .await;
    assert_eq!(height(&file).await, 90);
    let digests = |packets| {
        let audio = of_track(packets, "1").into_iter();
        audio.map(|(_, digest)| digest).collect::<Vec<_>>()
    };
    let (sent, arrived) = (packets(&original.file).await, packets(&file).await);
    let (sent, arrived) = (digests(&sent), digests(&arrived));
    let is_part = sent.windows(arrived.len()).any(|part| part == arrived);
    assert!(is_part && arrived.len() > 100, "{} packets", arrived.len());
    relay.end().await;
}

#[tokio::test]
async fn the_encoder_ends_with_its_relay_and_is_replaced_when_it_is_killed() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::new();
    let relay = worker.assign(assignment(&nginx, 94));
    relay.has_sent(10_000).await;
    let encodes = || !encoder("min(ih,94)").is_empty();
    assert!(encodes());

    kill(&encoder("min(ih,94)"));
    let before = relay.now().bytes;
    relay.has_sent(before + 10_000).await;
    assert_eq!(hooks.heard().len(), 1, "the destination stays connected");

    relay.end().await;
    eventually("the encoder is gone", async || !encodes()).await;
}
