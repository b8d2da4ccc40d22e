use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::media::{Publisher, program};

/// The frames per second.
const FPS: usize = 25;

/// The frames until the pictures repeat.
const FRAMES: usize = 60 * FPS;

/// An encoder with 6 Mbit/s and a keyframe every 2 seconds.
///
/// The media is encoded once, so that publishing costs the machine nothing that is measured.
pub struct Source {
    file: PathBuf,
    digests: Vec<String>,
}

impl Source {
    /// Encodes a minute.
    pub async fn encode(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("source.flv");
        let mut encoder = program("ffmpeg");
        encoder
            .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i"])
            .arg(format!("testsrc2=size=640x360:rate={FPS}"))
            .args(["-f", "lavfi", "-i", "sine=sample_rate=44100", "-t", "60"])
            .args([
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-pix_fmt",
                "yuv420p",
            ])
            .args(["-b:v", "5900k", "-minrate", "5900k", "-maxrate", "5900k"])
            .args(["-bufsize", "5900k", "-g", "50", "-sc_threshold", "0"])
            .args(["-x264-params", "nal-hrd=cbr:force-cfr=1"])
            .args(["-c:a", "aac", "-b:a", "96k", "-f", "flv"])
            .arg(&file);
        let encoded = encoder.output().await.context("cannot start ffmpeg")?;
        let errors = String::from_utf8_lossy(&encoded.stderr);
        ensure!(encoded.status.success(), "ffmpeg: {errors}");
        let digests = digests(&file).await?;
        ensure!(digests.len() == FRAMES, "{} frames", digests.len());
        Ok(Self { file, digests })
    }

    /// Publishes it again and again in real time.
    pub fn publish(&self, url: &str) -> anyhow::Result<Publisher> {
        Publisher::replay(&self.file, url)
    }

    /// The media in seconds that is missing between two recordings; 0 if they overlap.
    pub async fn missing(&self, before: &Path, after: &Path) -> anyhow::Result<f64> {
        let last = digests(before).await?.pop().context("an empty recording")?;
        let first = digests(after).await?.into_iter().next();
        let first = first.context("an empty recording")?;
        let at = |digest: &String| {
            let found = self.digests.iter().position(|known| known == digest);
            found.context("a frame that was not sent")
        };
        let steps = (at(&first)? + FRAMES - at(&last)?) % FRAMES;
        let missing = if steps > FRAMES / 2 {
            0
        } else {
            steps.saturating_sub(1)
        };
        Ok(missing as f64 / FPS as f64)
    }
}

/// The MD5 of each video frame of a recording.
async fn digests(file: &Path) -> anyhow::Result<Vec<String>> {
    let listed = program("ffmpeg")
        .args(["-v", "quiet", "-nostdin", "-i"])
        .arg(file)
        .args(["-map", "0:v", "-c", "copy", "-f", "framemd5", "-"])
        .output()
        .await
        .context("cannot start ffmpeg")?;
    let text = String::from_utf8(listed.stdout)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digest = |line: &str| Some(line.rsplit(',').next()?.trim().to_owned());
    Ok(lines.filter_map(digest).collect())
}
