//! The file of SQLite: it is created once, and must remain the same file from then on.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use sqlx::{ConnectOptions, Connection};
use sqlx_sqlite::SqliteConnectOptions;

/// The file of a database. A clone shares what is known about it.
#[derive(Debug, Clone)]
pub(super) struct SqliteFile(Arc<FileState>);

#[derive(Debug)]
struct FileState {
    path: PathBuf,
    /// Device and inode at the first check.
    identity: OnceLock<(u64, u64)>,
    /// Whether the last check failed.
    is_lost: AtomicBool,
}

/// Why a database has no file.
#[derive(Debug)]
pub(super) enum CreateFileError {
    /// An existing database seems to be lost: a sentence for operators.
    Lost(String),
    /// The file cannot be read or created.
    Failed(sqlx::Error),
}

impl SqliteFile {
    pub fn new(path: &Path) -> Self {
        Self(Arc::new(FileState {
            path: path.to_owned(),
            identity: OnceLock::new(),
            is_lost: AtomicBool::new(false),
        }))
    }

    /// The path of a file beside the database, such as `sluice.db-wal` for `-wal`.
    pub fn beside(&self, suffix: impl AsRef<OsStr>) -> PathBuf {
        let mut path = self.0.path.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    }

    /// Checks that the path still names the file of the first check. Otherwise what is written
    /// is lost at the next start. One `stat`, which costs some microseconds.
    pub fn check(&self) -> io::Result<()> {
        let state = &*self.0;
        let found = fs::metadata(&state.path).map(|found| (found.dev(), found.ino()));
        let is_same = found
            .as_ref()
            .is_ok_and(|found| found == state.identity.get_or_init(|| *found));
        let was_lost = state.is_lost.swap(!is_same, Ordering::Relaxed);
        let path = state.path.display();
        match (is_same, was_lost) {
            (true, false) => return Ok(()),
            (true, true) => {
                tracing::info!(%path, "the database file is back");
                return Ok(());
            }
            (false, false) => tracing::error!(
                %path,
                "the database file was deleted or replaced, writes are refused: put it back, or \
                 stop the server and restore a backup"
            ),
            (false, true) => {}
        }
        let text = format!("the database file {path} was deleted or replaced");
        Err(io::Error::new(ErrorKind::NotFound, text))
    }

    /// Creates the file if it does not exist, readable only by its owner. Fails like
    /// [`SqliteFile::is_missing`].
    pub async fn create_if_missing(
        &self,
        options: &SqliteConnectOptions,
        was_used: bool,
    ) -> Result<(), CreateFileError> {
        match self.is_missing(was_used)? {
            false => Ok(()),
            true => self.create(options).await.map_err(CreateFileError::Failed),
        }
    }

    /// Whether the file does not exist. Fails if an existing database seems to be lost. `was_used`
    /// says whether a server has used the path before.
    pub fn is_missing(&self, was_used: bool) -> Result<bool, CreateFileError> {
        let path = self.0.path.display();
        let log = fs::metadata(self.beside("-wal"));
        let has_log = log.is_ok_and(|log| log.len() > 0);
        match fs::metadata(&self.0.path) {
            Ok(found) if found.len() > 0 => Ok(false),
            Ok(_) if was_used || has_log => Err(CreateFileError::Lost(format!(
                "the database file {path} is empty, but a server has used it before: restore a \
                 backup, or remove it with {path}.lock to begin with a new database"
            ))),
            // Somebody made it in advance, perhaps to set its owner and mode.
            Ok(_) => Ok(false),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(CreateFileError::Failed(error.into()))
            }
            Err(_) if has_log => Err(CreateFileError::Lost(format!(
                "the database file {path} is missing, but its log {path}-wal is there: restore the \
                 file or a backup, or remove the log to begin with a new database"
            ))),
            Err(_) => Ok(true),
        }
    }

    /// Creates the file under another name first, so that it never exists without content.
    async fn create(&self, options: &SqliteConnectOptions) -> Result<(), sqlx::Error> {
        let draft = self.beside(format!(".{}.new", std::process::id()));
        // Its log and index get the same mode.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        options
            .clone()
            .filename(&draft)
            .connect()
            .await?
            .close()
            .await?;
        let linked = fs::hard_link(&draft, &self.0.path);
        fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let directory = self.0.path.parent().filter(|path| *path != Path::new(""));
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    }
}
