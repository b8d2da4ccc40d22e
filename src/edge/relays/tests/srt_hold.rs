use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{
    hold::{assert_continuous, decodes, tracks},
    hooks::Hooks,
    rig::{MAX_WAIT, Nginx, Picture, Running, Worker, publish, publish_picture},
    srt::{listens, socket},
};
use crate::proto::v1::{OutagePolicy, RelayAssignment, RelayState};

/// An SRT listener that records one connection.
async fn record(port: u16, file: &Path) -> Child {
    let recorder = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(format!("srt://127.0.0.1:{port}?mode=listener"))
        .args(["-map", "0", "-c", "copy", "-f", "mpegts"])
        .arg(file)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    listens(port).await;
    recorder
}

async fn ended(recorder: &mut Child) {
    let ended = timeout(MAX_WAIT, recorder.wait()).await;
    assert!(ended.expect("the connection ends").unwrap().success());
}

/// The widths of the pictures in a file.
async fn widths(file: &Path) -> BTreeSet<u32> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v"])
        .args(["-show_entries", "frame=width", "-of", "csv=p=0"])
        .arg(file)
        .output();
    let text = String::from_utf8(output.await.unwrap().stdout).unwrap();
    let fields = text.lines().filter_map(|line| line.split(',').next());
    fields.filter_map(|width| width.parse().ok()).collect()
}

/// A relay to an SRT listener that holds.
fn relay(worker: &Worker, input: &Nginx, port: u16) -> Running {
    worker.assign(RelayAssignment {
        input_url: input.source(),
        output_server_url: format!("srt://127.0.0.1:{port}"),
        output_stream_key: "key".to_owned(),
        outage_policy: OutagePolicy::Hold.into(),
        ..Default::default()
    })
}

async fn broadcasts(relay: &Running) {
    relay.reaches(RelayState::Broadcasting).await;
    let sent = relay.now().bytes;
    relay.has_sent(sent + 30_000).await;
}

async fn is_held(relay: &Running) {
    let before = relay.reaches(RelayState::Holding).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(relay.now().state, RelayState::Holding);
    relay.has_sent(before.bytes + 1).await;
}

#[tokio::test]
async fn an_absence_and_another_resolution_are_bridged_on_one_srt_connection() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording.ts");
    let (probe, port) = socket().await;
    drop(probe);
    let mut recorder = record(port, &file).await;
    let mut publisher = publish(&nginx.source());
    let worker = Worker::new();
    let relay = relay(&worker, &nginx, port);
    broadcasts(&relay).await;

    publisher.kill().await.unwrap();
    is_held(&relay).await;
    let wider = Picture {
        size: "320x180",
        audio: "sine=sample_rate=44100",
    };
    let _publisher = publish_picture(&nginx.source(), wider);
    broadcasts(&relay).await;

    relay.end().await;
    ended(&mut recorder).await;
    decodes(&file).await;
    assert_eq!(widths(&file).await, BTreeSet::from([160, 320]));
    assert_continuous(&tracks(&file).await);
}

#[tokio::test]
async fn other_audio_after_an_absence_begins_another_srt_connection() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let folder = tempfile::tempdir().unwrap();
    let files = ["first.ts", "second.ts"].map(|name| folder.path().join(name));
    let (probe, port) = socket().await;
    drop(probe);
    let mut first = record(port, &files[0]).await;
    let mut publisher = publish(&nginx.source());
    let worker = Worker::new();
    let relay = relay(&worker, &nginx, port);
    broadcasts(&relay).await;

    publisher.kill().await.unwrap();
    is_held(&relay).await;
    let before = relay.now().bytes;
    let other = Picture {
        size: "160x120",
        audio: "sine=sample_rate=48000",
    };
    let _publisher = publish_picture(&nginx.source(), other);
    ended(&mut first).await;
    let mut second = record(port, &files[1]).await;
    broadcasts(&relay).await;
    assert!(relay.now().bytes > before, "the bytes are counted on");

    relay.end().await;
    ended(&mut second).await;
    for file in files {
        decodes(&file).await;
        assert_continuous(&tracks(&file).await);
    }
}
