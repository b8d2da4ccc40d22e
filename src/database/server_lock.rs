use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::Target;

/// Keeps other servers away from a file of SQLite, until it is dropped or the process ends.
///
/// The caches of a server, its change notifications and its jobs expect to be the only ones.
/// Commands for operators may use the file meanwhile. The lock is on a file of its own, because
/// systems differ in whether a lock of the database itself would be one of SQLite's.
#[derive(Debug)]
pub struct ServerLock {
    _file: File,
}

/// Why a server cannot have a database for itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerLockError {
    /// Another server has it.
    #[error(
        "another server uses the SQLite database {} (DATABASE_URL or SLUICE_DATA_DIR): stop it, or \
         use PostgreSQL, which serves several servers",
        .0.display()
    )]
    InUse(PathBuf),
    /// The lock file cannot be created or locked.
    #[error("{}", unusable_lock(verb, path))]
    Unusable {
        /// What cannot be done.
        verb: &'static str,
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ServerLock {
    /// Locks the database; `None` for PostgreSQL, which serves any number of servers.
    pub fn acquire(target: &Target) -> Result<Option<Self>, ServerLockError> {
        let Target::Sqlite(database) = target else {
            return Ok(None);
        };
        let path = lock_path(database);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        match file {
            Ok(file) => Self::lock(file, database, path).map(Some),
            Err(source) => {
                let verb = "create";
                Err(ServerLockError::Unusable { verb, path, source })
            }
        }
    }

    /// Fails if a server has the database. Creates no file.
    pub fn check(database: &Path) -> Result<(), ServerLockError> {
        let path = lock_path(database);
        match File::options().write(true).open(&path) {
            Ok(file) => Self::lock(file, database, path).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => {
                let verb = "open";
                Err(ServerLockError::Unusable { verb, path, source })
            }
        }
    }

    fn lock(file: File, database: &Path, path: PathBuf) -> Result<Self, ServerLockError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(ServerLockError::InUse(database.to_owned())),
            Err(TryLockError::Error(source)) => {
                let verb = "lock";
                Err(ServerLockError::Unusable { verb, path, source })
            }
        }
    }
}

/// The sentence for a lock file beside an SQLite database that cannot be used.
pub(super) fn unusable_lock(verb: &str, path: &Path) -> String {
    format!(
        "cannot {verb} the lock file {}: make its folder writable, or name another file \
         (DATABASE_URL or SLUICE_DATA_DIR)",
        path.display()
    )
}

/// `<database>.server-lock`, the same for all symbolic links to the database.
fn lock_path(database: &Path) -> PathBuf {
    let real = database.canonicalize();
    let mut path = real
        .unwrap_or_else(|_| database.to_owned())
        .into_os_string();
    path.push(".server-lock");
    path.into()
}
