use std::{
    fs::{self, File},
    net::SocketAddr,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{process::Child, time::timeout};

use super::stub_ffmpeg::StubFfmpeg;
use crate::harness::{Process, Signal, eventually, send_signal};

/// `sluice edge` as a process that runs relays.
pub struct RelayEdge {
    child: Child,
    folder: TempDir,
}

impl RelayEdge {
    /// For node `n1`, with a stub for ffmpeg and settings as environment variables.
    pub fn start(
        control_plane: SocketAddr,
        api_key: &str,
        ffmpeg: &StubFfmpeg,
        settings: &[(&str, &str)],
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let own = [
            ("SLUICE_CONTROL_PLANE", format!("http://{control_plane}")),
            ("SLUICE_API_KEY", api_key.to_owned()),
            ("SLUICE_NODE_ID", "n1".to_owned()),
            ("SLUICE_HOOKS_SECRET", "0123456789abcdef".to_owned()),
            ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0".to_owned()),
            // There is no media server: the test begins streams.
            ("SLUICE_MEDIA_SERVER_API", "http://127.0.0.1:1".to_owned()),
            ("SLUICE_FFMPEG", ffmpeg.program().display().to_string()),
            ("SLUICE_ALLOW_PRIVATE_DESTINATIONS", "true".to_owned()),
            ("SLUICE_EDGE_DIR", folder.path().display().to_string()),
            ("SLUICE_LOG", "debug".to_owned()),
        ];
        let mut command = Process::command(&["edge"], &[]);
        let log = File::create(folder.path().join("log")).unwrap();
        let child = command
            .envs(own)
            .envs(settings.iter().copied())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The value of a field in the first log line with this message.
    pub async fn logged(&self, message: &str, field: &str) -> String {
        eventually("the edge logs it", async || {
            self.log().lines().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                let value = line[field].as_str()?.to_owned();
                (line["message"] == message).then_some(value)
            })
        })
        .await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.child.id().expect("it runs"), signal);
    }

    /// Waits until it ends; returns the exit code.
    pub async fn wait_for_exit(&mut self) -> Option<i32> {
        let ended = timeout(Duration::from_secs(30), self.child.wait()).await;
        ended.expect("the edge ends").unwrap().code()
    }
}
