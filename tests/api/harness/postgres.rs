use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use super::TestDatabase;

/// A PostgreSQL server of one test, which may do to it what it likes.
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

    /// Its database, as a server of ours needs it.
    pub fn database(&self) -> TestDatabase {
        TestDatabase {
            url: self.url(),
            directory: TempDir::new().unwrap(),
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

    /// Stops all its processes where they are.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
    }

    /// Lets them go on.
    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    /// Kills all its processes, and starts it again.
    pub async fn crash(&self) {
        self.signal("KILL").await;
        let again = async {
            // What it left must be gone before.
            while !self.run().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(30), again).await.unwrap();
    }

    /// Restarts it as its keepers do.
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

    /// To the first of its processes, and then to those that it has made.
    async fn signal(&self, name: &str) {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let first = file.lines().next().unwrap().to_owned();
        if name == "STOP" {
            // Nobody shall be made meanwhile.
            kill(name, std::slice::from_ref(&first)).await;
        }
        let children = Command::new("pgrep").args(["-P", &first]).output().await;
        let children = String::from_utf8(children.unwrap().stdout).unwrap();
        let mut all = vec![first];
        all.extend(children.lines().map(str::to_owned));
        kill(name, &all).await;
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        if let Some(first) = file.lines().next() {
            for signal in ["QUIT", "CONT"] {
                let mut kill = std::process::Command::new("kill");
                let _ = kill
                    .args(["-s", signal, first])
                    .stderr(Stdio::null())
                    .status();
            }
        }
    }
}

async fn kill(name: &str, pids: &[String]) {
    // Some may end by themselves meanwhile.
    let mut kill = Command::new("kill");
    kill.args(["-s", name]).args(pids).stderr(Stdio::null());
    kill.status().await.unwrap();
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
