use std::process::ExitStatus;

use super::{Child, child::program};

/// A publisher: ffmpeg with a test picture and a tone, small and cheap to encode.
#[derive(Debug)]
pub struct Picture {
    child: Child,
}

impl Picture {
    /// Publishes as fast as a camera does, until it is ended.
    pub fn publish(url: &str) -> anyhow::Result<Self> {
        let mut command = program("ffmpeg");
        command
            .args(["-hide_banner", "-nostdin", "-loglevel", "error", "-re"])
            .args(["-f", "lavfi", "-i", "testsrc=size=160x90:rate=10", "-re"])
            .args(["-f", "lavfi", "-i", "sine=sample_rate=44100"])
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"])
            .args(["-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "10"])
            .args(["-c:a", "aac", "-b:a", "32k"])
            .args(["-flvflags", "no_duration_filesize", "-f", "flv", url]);
        let child = Child::start("a publisher", &mut command)?;
        Ok(Self { child })
    }

    /// The number of the process; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended; `None` while it publishes.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.ended()
    }

    /// Ends it as a user would.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        self.child.end().await.map(drop)
    }

    /// Ends it without a word.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await
    }
}
