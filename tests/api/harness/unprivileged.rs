//! Programs that refuse to run as root.

use std::{env, fs, net::TcpListener, os::unix::fs::MetadataExt, path::Path};

use tempfile::TempDir;
use tokio::process::Command;

/// A command of a program; as user `postgres` if the test runs as root. The program may be
/// installed in a folder for administrators.
pub fn unprivileged(program: impl AsRef<Path>) -> Command {
    let program = program.as_ref();
    let mut command = match is_root() {
        true => {
            let mut command = Command::new("setpriv");
            let user = [
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "--",
            ];
            command.args(user).arg(program);
            command
        }
        false => Command::new(program),
    };
    let path = env::var("PATH").unwrap();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// A new folder that an unprivileged program can write to.
pub async fn unprivileged_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    if is_root() {
        let mut chown = Command::new("chown");
        let owned = chown.arg("postgres").arg(folder.path()).status().await;
        assert!(owned.unwrap().success());
    }
    folder
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn is_root() -> bool {
    // The owner of /proc/self is the user of this process.
    fs::metadata("/proc/self").unwrap().uid() == 0
}
