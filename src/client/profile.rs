//! The session of `sluice login`, in a file of the user's configuration directory.
//!
//! The file is replaced as a whole, so that a reader never sees half of it. A refresh token works
//! once: commands that refresh hold the lock of the profile, and read the file again under it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use etcetera::{BaseStrategy, choose_base_strategy};
use serde::{Deserialize, Serialize};

use super::error::{ClientError, ExitClass};

/// The longest name of a profile, in bytes.
const MAX_NAME: usize = 64;

/// A signed-in session, and the server that it belongs to.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Profile {
    /// The server that issued the tokens. They are sent to no other one.
    pub server: String,
    /// The authorities (PEM) that the server's certificate was checked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    pub email: String,
    pub access_token: String,
    pub access_token_expire_time: DateTime<Utc>,
    pub refresh_token: String,
}

/// The file of a profile.
pub(super) struct ProfileFile {
    name: String,
    path: PathBuf,
}

/// The lock of a profile: held until dropped, or until the process ends.
pub(super) struct ProfileLock {
    _file: File,
}

impl ProfileFile {
    /// The file of a profile, which need not exist.
    pub fn named(name: &str) -> Result<Self, ClientError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.len() > MAX_NAME || name.starts_with('.') || !name.bytes().all(is_plain) {
            return Err(ClientError::usage(format!(
                "--profile (SLUICE_PROFILE) must have 1 to {MAX_NAME} letters, digits, hyphens, \
                 underscores and dots, and not start with a dot"
            )));
        }
        let directories = choose_base_strategy().map_err(|_| {
            ClientError::new(
                ExitClass::Failure,
                "there is no home directory for the profile: set HOME or XDG_CONFIG_HOME",
            )
        })?;
        let folder = directories.config_dir().join("sluice").join("profiles");
        Ok(Self {
            name: name.to_owned(),
            path: folder.join(format!("{name}.json")),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the profile; `None` if there is none. A file that other users can read is refused.
    pub fn read(&self) -> Result<Option<Profile>, ClientError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", &error)),
        };
        let metadata = file
            .metadata()
            .map_err(|error| self.failed("read", &error))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            let path = self.path.display();
            return Err(ClientError::new(
                ExitClass::Denied,
                format!("other users can read {path}, which has tokens: run `chmod 600 {path}`"),
            ));
        }
        let profile = serde_json::from_reader(io::BufReader::new(file));
        let profile = profile.map_err(|error| {
            ClientError::new(
                ExitClass::Failure,
                format!(
                    "{} is not a profile ({error}): run `sluice login`",
                    self.path.display()
                ),
            )
        })?;
        Ok(Some(profile))
    }

    /// Waits until no other process changes the profile.
    pub fn lock(&self) -> Result<ProfileLock, ClientError> {
        let lock = || -> io::Result<File> {
            let mut folder = DirBuilder::new();
            folder.recursive(true).mode(0o700).create(self.folder())?;
            let mut options = OpenOptions::new();
            let options = options.create(true).truncate(false).write(true).mode(0o600);
            let file = options.open(self.path.with_extension("lock"))?;
            file.lock()?;
            Ok(file)
        };
        let file = lock().map_err(|error| self.failed("lock", &error))?;
        Ok(ProfileLock { _file: file })
    }

    /// Replaces the profile. It is on disk when this returns.
    pub fn write(&self, profile: &Profile, _: &ProfileLock) -> Result<(), ClientError> {
        let write = || -> io::Result<()> {
            let new = self.path.with_extension("new");
            // What an interrupted command left may have other permissions.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            let mut file = options
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&new)?;
            serde_json::to_writer_pretty(&mut file, profile)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            File::open(self.folder())?.sync_all()
        };
        write().map_err(|error| self.failed("write", &error))
    }

    /// Deletes the profile, if there is one.
    pub fn remove(&self, _: &ProfileLock) -> Result<(), ClientError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("delete", &error))
            }
            _ => Ok(()),
        }
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn failed(&self, verb: &str, error: &io::Error) -> ClientError {
        let path = self.path.display();
        ClientError::new(ExitClass::Failure, format!("cannot {verb} {path}: {error}"))
    }
}
