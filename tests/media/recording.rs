use std::path::{Path, PathBuf};

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
        .args(["-show_entries", "packet=pts_time", "-of", "csv=p=0"])
        .arg(recording)
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
