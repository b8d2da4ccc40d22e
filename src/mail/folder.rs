use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use lettre::Message;

use crate::domain::LetterId;

/// Writes messages into a folder, which only its owner may enter.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Messages go into this folder, which is made when the first one comes.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes a message into a file of its own, whole or not at all.
    pub async fn send(&self, id: LetterId, message: &Message) -> anyhow::Result<()> {
        let folder = self.path.clone();
        let message = message.formatted();
        let writing = tokio::task::spawn_blocking(move || write(&folder, id, &message));
        writing.await?.context("cannot write a file for it")
    }
}

fn write(folder: &Path, id: LetterId, message: &[u8]) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)?;
    let draft = folder.join(format!(".{id}.draft"));

    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&draft)?;
    file.write_all(message)?;
    file.sync_all()?;
    fs::rename(draft, folder.join(format!("{id}.eml")))
}
