use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use super::rig::MAX_WAIT;

/// A packet in a file: its track, its decoding time, and its MD5.
pub(super) type PacketDigest = (String, i64, String);

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

/// All packets of a file.
pub(super) async fn packets(file: &Path) -> Vec<PacketDigest> {
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

pub(super) fn of_track(packets: &[PacketDigest], track: &str) -> Vec<(i64, String)> {
    let of_track = packets.iter().filter(|(other, ..)| other == track);
    of_track
        .map(|(_, time, digest)| (*time, digest.clone()))
        .collect()
}

/// The MD5 of the last packet of each track.
fn last(packets: &[PacketDigest]) -> [Option<String>; 2] {
    ["0", "1"].map(|track| Some(of_track(packets, track).pop()?.1))
}

/// The height of the picture in a file.
pub(super) async fn height(file: &Path) -> u32 {
    let arguments = [
        "-v",
        "error",
        "-select_streams",
        "v",
        "-show_entries",
        "stream=height",
        "-of",
        "csv=p=0",
        file.to_str().unwrap(),
    ];
    run("ffprobe", &arguments).await.trim().parse().unwrap()
}

/// Whether all packets of the end of a file have arrived.
pub(super) fn has_ended(arrived: &[PacketDigest], sent: &[PacketDigest]) -> bool {
    last(arrived) == last(sent)
}

/// Checks that the packets from some keyframe on have arrived: each unchanged, none missing or
/// twice, with the same distances in time, within a track and between the tracks.
pub(super) fn assert_same(arrived: &[PacketDigest], sent: &[PacketDigest]) {
    let first = of_track(arrived, "0").remove(0);
    let begin = of_track(sent, "0");
    let begin = begin.iter().find(|(_, digest)| *digest == first.1);
    let offset = first.0 - begin.expect("the first packet was sent").0;
    for track in ["0", "1"] {
        let arrived = of_track(arrived, track);
        let sent = of_track(sent, track);
        let begin = sent
            .iter()
            .position(|(time, _)| time + offset == arrived[0].0);
        let begin = begin.expect("the first packet was sent");
        let sent = sent[begin..].iter().take(arrived.len());
        let shifted = sent.map(|(time, digest)| (time + offset, digest.clone()));
        assert_eq!(arrived, shifted.collect::<Vec<_>>(), "track {track}");
        let count = arrived.len();
        assert!(count > 50, "track {track} has {count} packets");
        let goes_on = |pair: &[(i64, String)]| pair[0].0 <= pair[1].0;
        assert!(arrived.windows(2).all(goes_on), "track {track} goes back");
    }
}

/// A file with pictures and a tone, which is published as it is.
pub(super) struct Original {
    pub(super) file: PathBuf,
    folder: TempDir,
}

impl Original {
    /// With this length in seconds and further options for the video.
    pub(super) async fn encode(seconds: &str, video: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("original.flv");
        let source = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25"];
        let tone = ["-f", "lavfi", "-i", "sine=sample_rate=44100"];
        let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"];
        let picture = ["-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac"];
        let begin = ["-v", "error"];
        let end = ["-t", seconds, "-f", "flv", file.to_str().unwrap()];
        let all = [&begin[..], &source, &tone, &encoder, &picture, video, &end];
        run("ffmpeg", &all.concat()).await;
        Self { file, folder }
    }

    /// Publishes all of it in real time.
    pub(super) async fn publish(&self, url: &str) {
        let file = self.file.to_str().unwrap();
        let arguments = [
            "-v", "error", "-re", "-i", file, "-c", "copy", "-f", "flv", url,
        ];
        run("ffmpeg", &arguments).await;
    }

    /// The same media as MPEG-TS.
    pub(super) async fn as_mpegts(&self) -> PathBuf {
        let file = self.folder.path().join("original.ts");
        let (from, to) = (self.file.to_str().unwrap(), file.to_str().unwrap());
        let arguments = ["-v", "error", "-i", from, "-c", "copy", "-f", "mpegts", to];
        run("ffmpeg", &arguments).await;
        file
    }
}
