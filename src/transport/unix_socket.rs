//! The file of a Unix socket.
//!
//! A lock beside it (`FILE.lock`) is held as long as the socket exists: of two servers with the
//! same path, one gets it, and neither removes the socket of the other. What a killed server left
//! behind is replaced.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use tokio::net::UnixListener;

/// Who may connect: the user and the group of the server.
const SOCKET_MODE: u32 = 0o660;

/// The file of a bound socket, removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The device and the inode of the socket.
    identity: (u64, u64),
    _lock: File,
}

impl SocketFile {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another program may have replaced it.
        let is_own =
            fs::symlink_metadata(&self.path).is_ok_and(|it| identity(&it) == self.identity);
        if !is_own {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the Unix socket");
        }
    }
}

/// Binds a socket that only the user and the group of this process can connect to.
pub(super) fn bind(path: &Path, backlog: u32) -> anyhow::Result<(UnixListener, SocketFile)> {
    let lock = lock(path)?;
    remove_stale(path)?;

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux creates the file with the mode of the socket, less the umask. Never with more.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: set_mode(path)?,
        _lock: lock,
    };
    // Before this, every connection is refused.
    rustix::net::listen(&socket, i32::try_from(backlog)?)?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok((listener, file))
}

/// Whether [`bind`] would succeed, as far as that can be known without binding.
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let directory = directory(path);
    let metadata = fs::metadata(directory);
    let metadata = metadata.with_context(|| format!("cannot use {}", directory.display()))?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if !metadata.is_dir() || rustix::fs::access(directory, access).is_err() {
        bail!("{} is not a writable directory", directory.display());
    }
    find_stale(path).map(|_| ())
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let mut file = path.as_os_str().to_owned();
    file.push(".lock");
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    let opened = options.custom_flags(no_follow).open(&file);
    let opened = opened.with_context(|| format!("cannot open {}", Path::new(&file).display()))?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => bail!("another server listens there"),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    if find_stale(path)? {
        fs::remove_file(path).context("cannot remove the socket of an earlier server")?;
    }
    Ok(())
}

/// Whether there is a socket that nobody listens on. An error if there is anything else.
fn find_stale(path: &Path) -> anyhow::Result<bool> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if !metadata.file_type().is_socket() {
        bail!("the file exists and is not a socket");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => bail!("another server listens there"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(error).context("a socket exists, and it cannot be known who listens"),
    }
}

/// Gives the socket its mode, which the umask may have narrowed; returns its identity. It never
/// follows a link, and changes nothing but a socket.
fn set_mode(path: &Path) -> anyhow::Result<(u64, u64)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.file_type().is_socket() {
        bail!("the socket was replaced by another file");
    }
    if metadata.permissions().mode() & 0o777 != SOCKET_MODE {
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(itself, Permissions::from_mode(SOCKET_MODE))?;
    }
    Ok(identity(&metadata))
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::bind;

    #[tokio::test]
    async fn a_bound_socket_is_for_its_user_and_group_and_is_removed_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");

        let bound = bind(&path, 1).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let error = bind(&path, 1).unwrap_err();
        assert_eq!(error.to_string(), "another server listens there");

        drop(bound);
        assert!(!path.exists());
        bind(&path, 1).unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());

        bind(&path, 1).unwrap();
    }

    #[tokio::test]
    async fn the_socket_of_another_program_and_other_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (used, file) = (folder.path().join("used"), folder.path().join("file"));
        let _other = std::os::unix::net::UnixListener::bind(&used).unwrap();
        fs::write(&file, "text").unwrap();

        let error = bind(&used, 1).unwrap_err();
        assert_eq!(error.to_string(), "another server listens there");
        let error = bind(&file, 1).unwrap_err();
        assert_eq!(error.to_string(), "the file exists and is not a socket");
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    }

    #[tokio::test]
    async fn a_replaced_file_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let bound = bind(&path, 1).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "of another program").unwrap();

        drop(bound);

        assert!(path.exists());
    }
}
