use std::path::Path;

use tokio::{process::Command, time::timeout};

use super::{
    hooks::Hooks,
    rig::{MAX_WAIT, Nginx, Worker, eventually},
};

/// A packet in a file: its track, its decoding time in milliseconds, and its MD5.
type PacketDigest = (String, i64, String);

async fn run(program: &str, arguments: &[&str]) -> String {
    let run = Command::new(program)
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = timeout(MAX_WAIT, run).await.expect("it ends").unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// All packets of a file, by track.
async fn packets(file: &Path) -> Vec<PacketDigest> {
    let file = file.to_str().unwrap();
    let arguments = [
        "-v", "quiet", "-i", file, "-map", "0", "-c", "copy", "-f", "framemd5", "-",
    ];
    let text = run("ffmpeg", &arguments).await;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let fields = lines.map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    fields
        .map(|fields| {
            (
                fields[0].to_owned(),
                fields[1].parse().unwrap(),
                fields[5].to_owned(),
            )
        })
        .collect()
}

fn of_track(packets: &[PacketDigest], track: &str) -> Vec<(i64, String)> {
    let of_track = packets.iter().filter(|(other, ..)| other == track);
    of_track
        .map(|(_, time, digest)| (*time, digest.clone()))
        .collect()
}

#[tokio::test]
async fn every_packet_arrives_unchanged_with_its_distance_to_the_others() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original.flv");
    let name = original.to_str().unwrap();
    let encode = [
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=160x120:rate=25",
        "-f",
        "lavfi",
        "-i",
        "sine=sample_rate=44100",
        "-t",
        "8",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-bf",
        "2",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "25",
        "-c:a",
        "aac",
        "-f",
        "flv",
        name,
    ];
    run("ffmpeg", &encode).await;

    let worker = Worker::new();
    let server = format!("rtmp://127.0.0.1:{}/live", nginx.port);
    let relay = worker.relay(&nginx.source(), &server);
    let source = nginx.source();
    run(
        "ffmpeg",
        &[
            "-v", "error", "-re", "-i", name, "-c", "copy", "-f", "flv", &source,
        ],
    )
    .await;

    let expected = packets(&original).await;
    let last = |packets: &[PacketDigest]| {
        let digest = |track| of_track(packets, track).pop().map(|(_, digest)| digest);
        (digest("0"), digest("1"))
    };
    eventually("the last packets are recorded", async || {
        let recording = nginx.recordings().pop();
        match recording {
            Some(recording) => last(&packets(&recording).await) == last(&expected),
            None => false,
        }
    })
    .await;
    relay.end().await;

    let arrived = packets(&nginx.recordings().remove(0)).await;
    let offset = arrived[arrived.len() - 1].1 - expected[expected.len() - 1].1;
    for track in ["0", "1"] {
        let arrived = of_track(&arrived, track);
        // The first packets may have been published before the relay was connected.
        let all = of_track(&expected, track);
        let tail = &all[all.len() - arrived.len()..];
        let shifted = tail
            .iter()
            .map(|(time, digest)| (time + offset, digest.clone()));
        assert_eq!(arrived, shifted.collect::<Vec<_>>(), "track {track}");
        assert!(
            arrived.len() > 50,
            "track {track} has {} packets",
            arrived.len()
        );
    }
}
