use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use tempfile::TempDir;

use crate::harness::eventually;

const SCRIPT: &str = r#"#!/bin/bash
here=${0%/*}
printf '%s\n' "$*" >> "$here/lines"
/usr/bin/env > "$here/environment"
printf '%s\n' "$$" >> "$here/numbers"
echo total_size=1
case $(<"$here/mood") in
  runs) exec sleep 600 ;;
  fails) echo '[error] rtmp://127.0.0.1/app/name: no luck' >&2; exit 1 ;;
  stubborn) trap '' TERM; while :; do sleep 0.1; done ;;
esac
"#;

/// Stands in for ffmpeg: it moves no media, and behaves as it is told.
pub struct StubFfmpeg {
    folder: TempDir,
}

impl StubFfmpeg {
    /// One that runs until it is told to end.
    pub fn new() -> Self {
        let stub = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::write(stub.program(), SCRIPT).unwrap();
        fs::set_permissions(stub.program(), fs::Permissions::from_mode(0o755)).unwrap();
        stub.behaves("runs");
        stub
    }

    /// What it is from its next start on: `runs`, `fails`, or is `stubborn`.
    pub fn behaves(&self, mood: &str) {
        fs::write(self.file("mood"), mood).unwrap();
    }

    pub fn program(&self) -> PathBuf {
        self.file("ffmpeg")
    }

    /// The numbers of all processes so far.
    pub fn numbers(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.file("numbers")).unwrap_or_default();
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        complete.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// The number of the newest process once there were so many.
    pub async fn started(&self, count: usize) -> u32 {
        eventually("so many were started", async || {
            let numbers = self.numbers();
            (numbers.len() >= count).then(|| numbers[count - 1])
        })
        .await
    }

    /// All command lines, without the program.
    pub fn lines(&self) -> String {
        fs::read_to_string(self.file("lines")).unwrap()
    }

    /// The variables that the last one was given.
    pub fn environment(&self) -> String {
        fs::read_to_string(self.file("environment")).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Whether a process runs.
pub fn runs(number: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
    !matches!(state, None | Some("Z" | "X"))
}

/// Waits until a process runs no more.
pub async fn gone(number: u32) {
    eventually("the process is gone", async || {
        (!runs(number)).then_some(())
    })
    .await;
}
