use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use super::{
    DatabaseReuse, FullDisk, Pooling, Signal, TestDatabase, children, eventually, send_signal,
    try_signal,
    unprivileged::{free_port, unprivileged, unprivileged_folder},
};

/// A PostgreSQL server for one test, which can suspend, crash and restart it.
pub struct PostgresServer {
    directory: TempDir,
    port: u16,
    /// The disk of its data directory, if that can be full.
    disk: Option<FullDisk>,
}

impl PostgresServer {
    /// Starts a new server with an empty database.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same, with its data directory on this disk.
    pub async fn start_on(disk: FullDisk) -> Self {
        Self::start_with(Some(disk)).await
    }

    async fn start_with(disk: Option<FullDisk>) -> Self {
        let server = Self {
            directory: unprivileged_folder().await,
            port: free_port(),
            disk,
        };
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
            pooling: Pooling::Environment,
        }
    }

    /// Starts a standby. From then on a commit is acknowledged once the standby has it.
    pub async fn start_synchronous_standby(&self) -> Self {
        let standby = Self {
            directory: unprivileged_folder().await,
            port: free_port(),
            disk: None,
        };
        let (data, port) = (standby.data(), self.port.to_string());
        let copy = ["-D", data.to_str().unwrap(), "-R", "-c", "fast", "-N"];
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        assert!(run_program("pg_basebackup", &[&copy[..], &from].concat()).await);
        assert!(standby.start_server().await, "{}", standby.log());

        self.execute("alter system set synchronous_standby_names = '*'")
            .await;
        self.execute("select pg_reload_conf()").await;
        eventually("the standby is synchronous", async || {
            let mut connection = self.connection().await;
            let states = "select count(*) from pg_stat_replication where sync_state = 'sync'";
            let count: i64 = sqlx::query_scalar(states)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            (count == 1).then_some(())
        })
        .await;
        standby
    }

    /// Makes a primary of this standby. Returns when it accepts writes.
    pub async fn promote(&self) {
        self.execute("select pg_promote()").await;
    }

    /// Kills all processes of the server.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// The database on several servers, which are tried in this order.
    pub fn database_of(servers: &[&Self], parameters: &str) -> TestDatabase {
        let hosts = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port));
        let hosts = hosts.collect::<Vec<_>>().join(",");
        TestDatabase {
            url: format!("postgres://postgres@{hosts}/postgres?sslmode=disable{parameters}"),
            directory: TempDir::new().unwrap(),
            reuse: DatabaseReuse::disabled(),
            pooling: Pooling::Environment,
        }
    }

    /// The port, as in settings.
    pub fn port(&self) -> String {
        self.port.to_string()
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

    /// The disk of its data directory.
    pub fn disk(&self) -> &FullDisk {
        self.disk.as_ref().expect("the server has one")
    }

    /// Makes the next write need a new file of the write-ahead log, if the server runs.
    pub async fn switch_log(&self) {
        if let Ok(mut connection) = PgConnection::connect(&self.url()).await {
            let switch = sqlx::raw_sql("select pg_switch_wal()");
            // The server may end with it.
            let _ = switch.execute(&mut connection).await;
        }
    }

    /// Waits until the server accepts connections; starts it if it has ended by itself.
    pub async fn start_if_stopped(&self) {
        eventually("the server accepts connections", async || {
            let is_running = PgConnection::connect(&self.url()).await.is_ok();
            (is_running || self.start_server().await).then_some(())
        })
        .await;
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
        let mut program = program("pg_ctl", &[command, &common, &start].concat());
        if let Some(disk) = &self.disk {
            disk.apply_to(&mut program);
        }
        succeeds(program).await
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

/// Runs a PostgreSQL program; as user `postgres` if the test runs as root.
async fn run_program(name: &str, arguments: &[&str]) -> bool {
    succeeds(program(name, arguments)).await
}

fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = unprivileged(binary(name));
    command.args(arguments).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

async fn succeeds(mut command: Command) -> bool {
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
