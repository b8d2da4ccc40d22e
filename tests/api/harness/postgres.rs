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

use super::{DatabaseReuse, Signal, TestDatabase, children, send_signal, try_signal};

/// A PostgreSQL server for one test, which can suspend, crash and restart it.
pub struct PostgresServer {
    directory: TempDir,
    port: u16,
}

impl PostgresServer {
    /// Starts a new server with an empty database.
    pub async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        if is_root() {
            let mut chown = Command::new("chown");
            let owned = chown.arg("postgres").arg(directory.path()).status().await;
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
        assert!(run_program("initdb", &[&initdb[..], &locale].concat()).await);
        assert!(server.start_server().await, "{}", server.log());
        server
    }

    /// The database, for a Sluice server.
    pub fn database(&self) -> TestDatabase {
        TestDatabase {
            url: self.url(),
            directory: TempDir::new().unwrap(),
            reuse: DatabaseReuse::disabled(),
        }
    }

    /// Runs a statement.
    pub async fn execute(&self, statement: &str) {
        let mut connection = self.connection().await;
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        statement.execute(&mut connection).await.unwrap();
    }

    /// A connection to the database.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// Suspends all processes of the server (SIGSTOP).
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes the processes (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills all processes of the server and starts it again.
    pub async fn crash(&self) {
        self.signal(Signal::KILL);
        let restarted = async {
            // The shared memory of the old server must be free first.
            while !self.start_server().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(30), restarted).await.unwrap();
    }

    /// Restarts the server with `pg_ctl`.
    pub async fn restart(&self) {
        assert!(
            self.pg_ctl(&["restart", "-m", "fast"]).await,
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

    async fn start_server(&self) -> bool {
        self.pg_ctl(&["start"]).await
    }

    async fn pg_ctl(&self, command: &[&str]) -> bool {
        let data = self.data();
        let log = self.directory.path().join("log");
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -k {} -c fsync=off -c max_connections=60",
            self.port,
            self.directory.path().display()
        );
        let common = ["-s", "-w", "-D", data.to_str().unwrap()];
        let start = ["-l", log.to_str().unwrap(), "-o", &options];
        run_program("pg_ctl", &[command, &common, &start].concat()).await
    }

    /// Sends a signal to the postmaster and its child processes.
    fn signal(&self, signal: Signal) {
        let postmaster = self.postmaster().expect("the server is running");
        // Stop the postmaster first, so that it starts no other process.
        if signal == Signal::STOP {
            send_signal(postmaster, signal);
        }
        let children = children(postmaster);
        for pid in [postmaster].into_iter().chain(children) {
            // A child may have exited already.
            try_signal(pid, signal);
        }
    }

    /// The process id of the postmaster, from `postmaster.pid`.
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
    // The owner of /proc/self is the user of this process.
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a PostgreSQL program; as user `postgres` if the test runs as root.
async fn run_program(name: &str, arguments: &[&str]) -> bool {
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
    ended.expect("the program ends").unwrap().success()
}

/// The path of a program of the newest installed version.
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
