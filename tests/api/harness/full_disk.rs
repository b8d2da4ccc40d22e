use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use tempfile::TempDir;
use tokio::process::Command;

/// A disk for the files of a database that can be full.
pub struct FullDisk {
    directory: TempDir,
    /// A part of the paths of the files.
    path: &'static str,
    /// Whether writes fail only if their file grows.
    fails_only_growth: bool,
}

impl FullDisk {
    /// A disk for databases of SQLite that has space left. Once it is full, no write succeeds.
    pub async fn for_sqlite() -> Self {
        Self::new(".db", false).await
    }

    /// A disk for the data directory of a PostgreSQL server that has space left. Once it is full,
    /// files keep what they have, such as the rest of a file of the log.
    pub async fn for_postgres() -> Self {
        Self::new("/data/", true).await
    }

    async fn new(path: &'static str, fails_only_growth: bool) -> Self {
        let disk = Self {
            directory: TempDir::new().unwrap(),
            path,
            fails_only_growth,
        };
        // PostgreSQL may run as another user.
        fs::set_permissions(disk.directory.path(), Permissions::from_mode(0o755)).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/harness/full_disk.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(disk.library())
            .args([source, "-ldl"])
            .output()
            .await
            .unwrap();
        let messages = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{messages}");
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
            .env("FULL_DISK_MARKER", self.marker())
            .env("FULL_DISK_PATH", self.path);
        if self.fails_only_growth {
            command.env("FULL_DISK_GROWTH", "1");
        }
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("full_disk.so")
    }

    fn marker(&self) -> PathBuf {
        self.directory.path().join("full")
    }
}
