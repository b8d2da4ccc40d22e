use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

/// A small text file with state that survives restarts. Only its owner can read it.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Creates the directory, if it is missing, for its owner only.
    pub(super) fn open(dir: &Path, name: &str) -> anyhow::Result<Self> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        created.with_context(|| format!("cannot create {} (SLUICE_EDGE_DIR)", dir.display()))?;
        let path = dir.join(name);
        Ok(Self { path })
    }

    /// The text; empty if there is no file.
    pub(super) fn read(&self) -> anyhow::Result<String> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read {}", self.path.display()))
            }
        }
    }

    /// Replaces the text. After a crash the file has either the old or the new one.
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

    use super::StateFile;

    #[test]
    fn only_the_owner_can_read_the_file() {
        let folder = TempDir::new().unwrap();
        let own = folder.path().join("a/b");
        let file = StateFile::open(&own, "boot").unwrap();
        assert_eq!(file.read().unwrap(), "");
        file.write("one").unwrap();
        file.write("two").unwrap();

        let again = StateFile::open(&own, "boot").unwrap();
        assert_eq!(again.read().unwrap(), "two");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(own.clone()), 0o700);
        assert_eq!(mode(own.join("boot")), 0o600);
    }
}
