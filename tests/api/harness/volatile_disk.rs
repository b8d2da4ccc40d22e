use std::fs;

use tempfile::TempDir;
use tokio::process::Command;

use super::{TestDatabase, full_disk::compile};

/// The files of a SQLite database.
const FILES: [&str; 2] = ["sluice.db", "sluice.db-wal"];

/// A disk that loses what was not synced when the power fails.
pub struct VolatileDisk {
    library: TempDir,
    synced: TempDir,
}

impl VolatileDisk {
    /// A disk that has synced this database of SQLite.
    pub async fn with(database: &TestDatabase) -> Self {
        let disk = Self {
            library: TempDir::new().unwrap(),
            synced: TempDir::new().unwrap(),
        };
        compile("volatile_disk.c", &disk.library.path().join("disk.so")).await;
        let file = database.directory.path().join(FILES[0]);
        fs::copy(file, disk.synced.path().join(FILES[0])).unwrap();
        disk
    }

    /// Makes a process use this disk.
    pub fn apply_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.library.path().join("disk.so"))
            .env("SYNCED_FILES", self.synced.path());
    }

    /// Leaves of the database what was synced. No process uses it.
    pub fn fail(self, database: &TestDatabase) {
        let directory = database.directory.path();
        for name in FILES {
            let _ = fs::remove_file(directory.join(name));
            let synced = self.synced.path().join(name);
            if synced.exists() {
                fs::copy(synced, directory.join(name)).unwrap();
            }
        }
        // Its index of the log is not synced, and made anew.
        let _ = fs::remove_file(directory.join("sluice.db-shm"));
    }
}
