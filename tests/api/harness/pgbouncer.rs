use std::{env, fs, process::Stdio};

use tempfile::TempDir;
use tokio::{net::TcpStream, process::Child};
use url::Url;

use super::{
    TestDatabase, eventually,
    unprivileged::{free_port, unprivileged, unprivileged_folder},
};

/// PgBouncer in front of the database of a test.
pub struct PgBouncer {
    /// The URL of the database through PgBouncer.
    pub url: String,
    mode: PoolMode,
    folder: TempDir,
    port: u16,
    process: Child,
}

/// When a client of PgBouncer returns its server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// After each transaction.
    Transaction,
    /// When it disconnects.
    Session,
}

impl PoolMode {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Session => "session",
        }
    }

    /// The value of `SLUICE_DB_POOLER` for it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Session => "none",
        }
    }
}

impl PgBouncer {
    /// Starts PgBouncer with Debian's defaults and a number of server connections.
    pub async fn start(database: &TestDatabase, mode: PoolMode, pool_size: u32) -> Self {
        let (folder, port) = (unprivileged_folder().await, free_port());
        let mut url = Url::parse(&database.url).unwrap();
        let (host, server_port) = (url.host_str().unwrap(), url.port().unwrap_or(5432));
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        let users = folder.path().join("users");
        fs::write(&users, format!("\"{user}\" \"{password}\"\n")).unwrap();
        let settings = [
            "[databases]".to_owned(),
            format!("* = host={host} port={server_port}"),
            "[pgbouncer]".to_owned(),
            "listen_addr = 127.0.0.1".to_owned(),
            format!("listen_port = {port}"),
            "unix_socket_dir =".to_owned(),
            format!(
                "auth_type = {}",
                if password.is_empty() { "trust" } else { "md5" }
            ),
            format!("auth_file = {}", users.display()),
            format!("logfile = {}", folder.path().join("log").display()),
            format!("pool_mode = {}", mode.name()),
            format!("default_pool_size = {pool_size}"),
            "max_client_conn = 200".to_owned(),
        ];
        fs::write(folder.path().join("pgbouncer.ini"), settings.join("\n")).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(port)).unwrap();
        let process = run(&folder, port).await;
        Self {
            url: url.into(),
            mode,
            folder,
            port,
            process,
        }
    }

    /// PgBouncer for a database, if `SLUICE_TEST_POOLER` is `transaction` or `session`: then
    /// the servers of the tests use PostgreSQL through it.
    pub async fn of_environment(database: &TestDatabase) -> Option<Self> {
        let mode = match env::var("SLUICE_TEST_POOLER").ok()?.as_str() {
            "transaction" => PoolMode::Transaction,
            "session" => PoolMode::Session,
            other => panic!("SLUICE_TEST_POOLER is transaction or session, not {other}"),
        };
        let has_one_host = !database.url.contains(',');
        let is_postgres = database.url.starts_with("postgres") && has_one_host;
        let pool_size = match mode {
            PoolMode::Transaction => 4,
            PoolMode::Session => 20,
        };
        match is_postgres {
            true => Some(Self::start(database, mode, pool_size).await),
            false => None,
        }
    }

    /// The flags of a server that uses it.
    pub fn flags(&self) -> [String; 2] {
        [
            format!("--database-url={}", self.url),
            format!("--db-pooler={}", self.mode.setting()),
        ]
    }

    /// The environment variables of a server that uses it.
    pub fn settings(&self) -> [(&'static str, &str); 2] {
        [
            ("DATABASE_URL", &self.url),
            ("SLUICE_DB_POOLER", self.mode.setting()),
        ]
    }

    /// Kills it.
    pub async fn stop(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts it again after it was stopped.
    pub async fn start_again(&mut self) {
        self.process = run(&self.folder, self.port).await;
    }
}

async fn run(folder: &TempDir, port: u16) -> Child {
    let process = unprivileged("pgbouncer")
        .arg(folder.path().join("pgbouncer.ini"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("PgBouncer is not installed: {error}"));
    eventually("PgBouncer listens", async || {
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    process
}
