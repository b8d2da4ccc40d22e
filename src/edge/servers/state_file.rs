use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

/// A small text that a restarted edge must know, in a file that only it can read.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
}

impl Kept {
    /// Makes the folder, if there is none, for nobody else.
    pub(super) fn open(folder: &Path, name: &str) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make {} (SLUICE_EDGE_DIR)", folder.display()))?;
        let path = folder.join(name);
        Ok(Self { path })
    }

    /// What was kept; empty if nothing was.
    pub(super) fn read(&self) -> anyhow::Result<String> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(fault) => {
                Err(fault).with_context(|| format!("cannot read {}", self.path.display()))
            }
        }
    }

    /// Keeps a text instead of the one before: after a crash there is one of the two.
    pub(super) fn write(&self, text: &str) -> anyhow::Result<()> {
        let new = self.path.with_extension("new");
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use tempfile::TempDir;

    use super::Kept;

    #[test]
    fn what_is_kept_can_be_read_by_nobody_else() {
        let folder = TempDir::new().unwrap();
        let own = folder.path().join("a/b");
        let kept = Kept::open(&own, "boot").unwrap();
        assert_eq!(kept.read().unwrap(), "");
        kept.write("one").unwrap();
        kept.write("two").unwrap();

        assert_eq!(Kept::open(&own, "boot").unwrap().read().unwrap(), "two");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(own.clone()), 0o700);
        assert_eq!(mode(own.join("boot")), 0o600);
    }
}
