use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{domain::Secret, random::random_id};

/// The folder of the preset files of a worker.
#[derive(Debug, Clone)]
pub(crate) struct PresetFolder(PathBuf);

/// A file with options for ffmpeg that no process list may show. Only this user can read it.
/// It is deleted when this is dropped.
#[derive(Debug)]
pub(super) struct PresetFile(PathBuf);

impl PresetFolder {
    /// A folder in the directory of the edge, without the files of an edge that was killed.
    pub(crate) fn new(edge_dir: &Path) -> io::Result<Self> {
        let folder = edge_dir.join("presets");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// A file with these options. Their values have no line break.
    pub(super) fn write(&self, options: &[(&str, &Secret)]) -> io::Result<PresetFile> {
        let file = PresetFile(self.0.join(random_id()));
        let mut opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file.0)?;
        for (name, value) in options {
            let value = value.expose();
            if value.contains(['\r', '\n']) {
                return Err(io::Error::other("a value has a line break"));
            }
            writeln!(opened, "{name}={value}")?;
        }
        Ok(file)
    }
}

impl PresetFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PresetFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            // The next start tries again.
            tracing::warn!(%error, file = %self.0.display(), "cannot delete a file with secrets");
        }
    }
}
