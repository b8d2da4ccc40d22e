use std::path::PathBuf;

use tempfile::TempDir;
use tokio::process::Command;

/// A host name whose address changes each time it is resolved, from a public one to this machine.
pub struct RebindingName {
    directory: TempDir,
}

impl RebindingName {
    /// The name.
    pub const NAME: &str = "rebind.example.com";

    pub async fn new() -> Self {
        let name = Self {
            directory: TempDir::new().unwrap(),
        };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/harness/rebinding.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(name.library())
            .args([source, "-ldl"])
            .output()
            .await
            .unwrap();
        let messages = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{messages}");
        name
    }

    /// Makes a process resolve it.
    pub fn apply_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.library());
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("rebinding.so")
    }
}
