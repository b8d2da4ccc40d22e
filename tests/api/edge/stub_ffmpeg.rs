use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use tempfile::TempDir;

use crate::harness::eventually;

const SCRIPT: &str = r#"#!/bin/bash
here=${0%/*}
printf '%s\n' "$*" >> "$here/lines"
/usr/bin/env > "$here/environment"
printf '%s\n' "$$" >> "$here/numbers"
echo total_size=0
case $(<"$here/mood") in
  runs) exec sleep 600 ;;
  fails) echo '[error] rtmp://127.0.0.1/app/name: no luck' >&2; exit 1 ;;
  stubborn) trap '' TERM; while :; do sleep 0.1; done ;;
esac
"#;

/// A stub for ffmpeg, which moves no media.
pub struct StubFfmpeg {
    folder: TempDir,
}

impl StubFfmpeg {
    /// A stub that runs until SIGTERM.
    pub fn new() -> Self {
        let stub = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::write(stub.program(), SCRIPT).unwrap();
        fs::set_permissions(stub.program(), fs::Permissions::from_mode(0o755)).unwrap();
        stub.set_behavior("runs");
        stub
    }

    /// Without a program.
    pub fn missing() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    /// Sets the behavior from the next start on: `runs`, `fails` or `stubborn` (ignores SIGTERM).
    pub fn set_behavior(&self, mood: &str) {
        fs::write(self.file("mood"), mood).unwrap();
    }

    pub fn program(&self) -> PathBuf {
        self.file("ffmpeg")
    }

    /// The ids of all processes so far.
    pub fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.file("numbers")).unwrap_or_default();
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        complete.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Waits until `count` processes were started; returns the id of the last one.
    pub async fn wait_for_start(&self, count: usize) -> u32 {
        eventually("enough processes were started", async || {
            let numbers = self.pids();
            (numbers.len() >= count).then(|| numbers[count - 1])
        })
        .await
    }

    /// All command lines, without the program.
    pub fn command_lines(&self) -> String {
        fs::read_to_string(self.file("lines")).unwrap()
    }

    /// The environment of the last process.
    pub fn environment(&self) -> String {
        fs::read_to_string(self.file("environment")).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Whether a process runs.
pub fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
    !matches!(state, None | Some("Z" | "X"))
}

/// Waits until a process runs no more.
pub async fn wait_for_exit(pid: u32) {
    eventually("the process is gone", async || {
        (!is_running(pid)).then_some(())
    })
    .await;
}
