use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

/// A disk for databases of SQLite that can be full.
pub struct FullDisk {
    directory: TempDir,
}

impl FullDisk {
    /// A disk that has space left.
    pub async fn new() -> Self {
        let disk = Self {
            directory: TempDir::new().unwrap(),
        };
        compile("full_disk.c", &disk.library()).await;
        disk
    }

    /// Writes fail from now on.
    pub fn fill(&self) {
        fs::write(self.marker(), "").unwrap();
    }

    /// Writes succeed from now on.
    pub fn free(&self) {
        fs::remove_file(self.marker()).unwrap();
    }

    /// Makes a process use this disk.
    pub fn apply_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.library())
            .env("FULL_DISK_MARKER", self.marker());
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("full_disk.so")
    }

    fn marker(&self) -> PathBuf {
        self.directory.path().join("full")
    }
}

/// Compiles a file of this directory as a library that a process loads with `LD_PRELOAD`.
pub(super) async fn compile(source: &str, library: &Path) {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/harness");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(library)
        .arg(Path::new(directory).join(source))
        .arg("-ldl")
        .output()
        .await
        .unwrap();
    let messages = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{messages}");
}
