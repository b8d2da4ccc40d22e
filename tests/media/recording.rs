use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use super::child::program;

/// Size of a file in bytes.
pub fn size(file: &PathBuf) -> u64 {
    std::fs::metadata(file).map_or(0, |about| about.len())
}

/// Seconds between the first and the last frame of a recording, according to ffprobe.
pub async fn length(recording: &Path) -> anyhow::Result<f64> {
    let said = program("ffprobe")
        .args(["-v", "error", "-select_streams", "v"])
        .args(["-show_entries", "packet=pts_time", "-of", "csv=p=0", "-"])
        // Its name has the stream key, which no command line may show.
        .stdin(File::open(recording)?)
        .output()
        .await
        .context("cannot start ffprobe")?;
    let errors = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "ffprobe: {}", errors.trim());

    let times = String::from_utf8(said.stdout)?;
    let times = times.lines().filter_map(|line| line.parse::<f64>().ok());
    let (first, last) = times.fold((f64::MAX, 0.0), |(first, last), time| {
        (f64::min(first, time), f64::max(last, time))
    });
    Ok(f64::max(last - first, 0.0))
}

/// An error unless ffmpeg decodes a recording without errors, and the decoding times of each track
/// increase.
pub async fn assert_continuous(recording: &Path) -> anyhow::Result<()> {
    let decoded = program("ffmpeg")
        .args(["-v", "error", "-xerror", "-i", "-", "-f", "null", "-"])
        .stdin(File::open(recording)?)
        .output()
        .await
        .context("cannot start ffmpeg")?;
    let errors = String::from_utf8_lossy(&decoded.stderr);
    ensure!(
        decoded.status.success() && errors.is_empty(),
        "ffmpeg: {}",
        errors.trim()
    );
    let listed = program("ffprobe")
        .args(["-v", "error", "-show_entries", "packet=codec_type,dts_time"])
        .args(["-of", "csv=p=0", "-"])
        .stdin(File::open(recording)?)
        .output()
        .await
        .context("cannot start ffprobe")?;
    let mut last = HashMap::new();
    for line in String::from_utf8(listed.stdout)?.lines() {
        let mut fields = line.split(',');
        let (Some(track), Some(time)) = (fields.next(), fields.next()) else {
            // Side data, such as another configuration, has a line of its own.
            continue;
        };
        let time: f64 = time.parse()?;
        let before = last.insert(track.to_owned(), time);
        ensure!(
            before.is_none_or(|before| before < time),
            "{line} is not after {before:?}"
        );
    }
    Ok(())
}
