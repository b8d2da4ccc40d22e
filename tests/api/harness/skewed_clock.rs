use std::{fs, path::PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

/// The clock of a machine that is wrong, for a server process (libfaketime). It can be set
/// while the process runs. The monotonic clock remains right, as on a real machine.
pub struct SkewedClock {
    directory: TempDir,
}

impl SkewedClock {
    /// A clock that is this far ahead, or behind if negative.
    pub fn ahead_by(seconds: i64) -> Self {
        let clock = Self {
            directory: TempDir::new().unwrap(),
        };
        clock.set(seconds);
        clock
    }

    /// Sets how far the clock is ahead.
    pub fn set(&self, seconds: i64) {
        let new = self.directory.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// Makes a process read this clock.
    pub fn apply_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", self.file())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }
}

/// The library of Debian's package, in the directory of the machine's architecture.
fn library() -> PathBuf {
    let architectures = fs::read_dir("/usr/lib").unwrap().map(Result::unwrap);
    architectures
        .map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists())
        .expect("`make test` installs libfaketime")
}
