use std::{path::Path, process::ExitStatus};

use super::{Child, child::program};

/// A publisher: ffmpeg with a small test picture and a tone, cheap to encode.
#[derive(Debug)]
pub struct Publisher {
    child: Child,
}

impl Publisher {
    /// Publishes in real time, until it is ended.
    pub fn start(url: &str) -> anyhow::Result<Self> {
        Self::start_with(url, &[])
    }

    /// The same, with further options of ffmpeg for the output.
    pub fn start_with(url: &str, options: &[&str]) -> anyhow::Result<Self> {
        let mut command = program("ffmpeg");
        command
            .args(["-hide_banner", "-nostdin", "-loglevel", "error", "-re"])
            .args(["-f", "lavfi", "-i", "testsrc=size=160x90:rate=10", "-re"])
            .args(["-f", "lavfi", "-i", "sine=sample_rate=44100"])
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"])
            .args(["-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "10"])
            .args(["-c:a", "aac", "-b:a", "32k"])
            .args(options)
            .args(["-flvflags", "no_duration_filesize", "-f", "flv", url]);
        let child = Child::start("a publisher", &mut command)?;
        Ok(Self { child })
    }

    /// Publishes a file again and again in real time. Its first keyframe is sent at once, because
    /// nothing is encoded.
    pub fn replay(file: &Path, url: &str) -> anyhow::Result<Self> {
        let mut command = program("ffmpeg");
        command
            .args(["-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i"])
            .arg(file)
            .args(["-c", "copy", "-flvflags", "no_duration_filesize"])
            .args(["-f", "flv", url]);
        let child = Child::start("a publisher", &mut command)?;
        Ok(Self { child })
    }

    /// The process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The exit status; `None` while it publishes.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.ended()
    }

    /// Sends SIGTERM, and waits until it has ended.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        self.child.end().await.map(drop)
    }

    /// Kills it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await
    }
}
