use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use super::{Lease, Signal, TestDatabase, children, send_signal, try_signal};

/// A PostgreSQL server of one test, which may stop it, kill it and change its settings.
pub struct PostgresServer {
    directory: TempDir,
    port: u16,
}

impl PostgresServer {
    /// A new server with an empty database.
    pub async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        if is_root() {
            let mut own = Command::new("chown");
            let owned = own.arg("postgres").arg(directory.path()).status().await;
            assert!(owned.unwrap().success());
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let server = Self { directory, port };

        let data = server.data();
        let data = data.to_str().unwrap();
        let initdb = ["-D", data, "-A", "trust", "-U", "postgres", "-N"];
        let locale = ["-E", "UTF8", "--locale=C.UTF-8"];
        assert!(program("initdb", &[&initdb[..], &locale].concat()).await);
        assert!(server.run().await, "{}", server.log());
        server
    }

    /// Its database, for a Sluice server.
    pub fn database(&self) -> TestDatabase {
        TestDatabase {
            url: self.url(),
            directory: TempDir::new().unwrap(),
            lease: Lease::none(),
        }
    }

    /// Runs a statement in it.
    pub async fn execute(&self, statement: &str) {
        let mut connection = self.connection().await;
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        statement.execute(&mut connection).await.unwrap();
    }

    /// A connection to its database.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// Suspends all its processes.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes its processes.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills all its processes, and starts it again.
    pub async fn crash(&self) {
        self.signal(Signal::KILL);
        let again = async {
            // The shared memory of the old server must be free first.
            while !self.run().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(30), again).await.unwrap();
    }

    /// Restarts it as an administrator does.
    pub async fn restart(&self) {
        assert!(
            self.control(&["restart", "-m", "fast"]).await,
            "{}",
            self.log()
        );
    }

    fn url(&self) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable",
            self.port
        )
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    async fn run(&self) -> bool {
        self.control(&["start"]).await
    }

    async fn control(&self, command: &[&str]) -> bool {
        let data = self.data();
        let log = self.directory.path().join("log");
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -k {} -c fsync=off -c max_connections=60",
            self.port,
            self.directory.path().display()
        );
        let place = ["-s", "-w", "-D", data.to_str().unwrap()];
        let rest = ["-l", log.to_str().unwrap(), "-o", &options];
        program("pg_ctl", &[command, &place, &rest].concat()).await
    }

    /// Sends a signal to its first process and to the child processes of that.
    fn signal(&self, signal: Signal) {
        let postmaster = self.postmaster().expect("the server runs");
        // If it stops, it stops first, so that it starts no process meanwhile.
        if signal == Signal::STOP {
            send_signal(postmaster, signal);
        }
        let children = children(postmaster);
        for pid in [postmaster].into_iter().chain(children) {
            // A child may have ended by itself.
            try_signal(pid, signal);
        }
    }

    /// The id of its first process, from the file that it writes.
    fn postmaster(&self) -> Option<u32> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        file.lines().next()?.parse().ok()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(postmaster) = self.postmaster() {
            for signal in [Signal::QUIT, Signal::CONT] {
                try_signal(postmaster, signal);
            }
        }
    }
}

fn is_root() -> bool {
    // Who owns the process's own files.
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a program of PostgreSQL, which does not run as root.
async fn program(name: &str, arguments: &[&str]) -> bool {
    let mut command = match is_root() {
        true => {
            let mut command = Command::new("setpriv");
            let user = [
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "--",
            ];
            command.args(user).arg(binary(name));
            command
        }
        false => Command::new(binary(name)),
    };
    command.args(arguments).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let ended = timeout(Duration::from_secs(60), command.status()).await;
    ended.expect("it ends").unwrap().success()
}

/// Where a program of the newest version is.
fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|version| version.unwrap().path())
        .max_by_key(|path| number(path));
    match newest {
        Some(version) => version.join("bin").join(name),
        None => name.into(),
    }
}
