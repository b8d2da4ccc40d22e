use std::{env, fs, path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{net::TcpStream, process::Child, sync::OnceCell};
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

    /// The flags of a server that uses a database through a pooler in this mode.
    pub fn flags(self, url: &str) -> [String; 2] {
        [
            format!("--database-url={url}"),
            format!("--db-pooler={}", self.setting()),
        ]
    }

    /// The environment variables of such a server.
    pub fn settings(self, url: &str) -> [(&'static str, &str); 2] {
        [("DATABASE_URL", url), ("SLUICE_DB_POOLER", self.setting())]
    }
}

/// Server connections of PgBouncer for each database, in transaction mode.
const TRANSACTION_POOL_SIZE: u32 = 4;

/// PgBouncer in transaction mode for all tests with [`super::Pooled`]. It ends with the test
/// program, which holds its standard input.
struct SharedPgBouncer {
    port: u16,
    /// Never waited for: it ends when this program does.
    _process: std::process::Child,
}

static SHARED: OnceCell<SharedPgBouncer> = OnceCell::const_new();

/// Runs PgBouncer, with the folder of its settings, until standard input is closed.
const UNTIL_CLOSED: &str = "pgbouncer \"$0/pgbouncer.ini\" </dev/null >/dev/null 2>&1 &
    read -r _; kill $!; wait; rm -r \"$0\"";

impl PgBouncer {
    /// Starts PgBouncer with Debian's defaults and a number of server connections.
    pub async fn start(database: &TestDatabase, mode: PoolMode, pool_size: u32) -> Self {
        let (folder, port) = (unprivileged_folder().await, free_port());
        let limits = [format!("default_pool_size = {pool_size}")];
        write_settings(folder.path(), port, &database.url, mode, &limits);
        let process = run(&folder, port).await;
        Self {
            url: url_at(&database.url, port),
            mode,
            folder,
            port,
            process,
        }
    }

    /// The URL of a database through the PgBouncer that all tests share.
    pub async fn shared_url(database_url: &str) -> String {
        let shared = SHARED.get_or_init(|| start_shared(database_url)).await;
        url_at(database_url, shared.port)
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
            PoolMode::Transaction => TRANSACTION_POOL_SIZE,
            PoolMode::Session => 20,
        };
        match is_postgres {
            true => Some(Self::start(database, mode, pool_size).await),
            false => None,
        }
    }

    /// The flags of a server that uses it.
    pub fn flags(&self) -> [String; 2] {
        self.mode.flags(&self.url)
    }

    /// The environment variables of a server that uses it.
    pub fn settings(&self) -> [(&'static str, &str); 2] {
        self.mode.settings(&self.url)
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

/// The URL of a database through PgBouncer on a port.
fn url_at(database_url: &str, port: u16) -> String {
    let mut url = Url::parse(database_url).unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(port)).unwrap();
    url.into()
}

/// Writes the settings of PgBouncer for the server of a database, and its file of users.
fn write_settings(folder: &Path, port: u16, database_url: &str, mode: PoolMode, limits: &[String]) {
    let url = Url::parse(database_url).unwrap();
    let (host, server_port) = (url.host_str().unwrap(), url.port().unwrap_or(5432));
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    let users = folder.join("users");
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
        format!("logfile = {}", folder.join("log").display()),
        format!("pool_mode = {}", mode.name()),
        "max_client_conn = 800".to_owned(),
    ];
    let lines = [&settings, limits].concat().join("\n");
    fs::write(folder.join("pgbouncer.ini"), lines).unwrap();
}

/// Starts the shared PgBouncer. Its server connections end a second after their last use, so
/// that databases of tests that have ended keep none.
async fn start_shared(database_url: &str) -> SharedPgBouncer {
    let (folder, port) = (unprivileged_folder().await.keep(), free_port());
    let limits = [
        format!("default_pool_size = {TRANSACTION_POOL_SIZE}"),
        "server_idle_timeout = 1".to_owned(),
    ];
    write_settings(&folder, port, database_url, PoolMode::Transaction, &limits);
    let mut shell = unprivileged("bash");
    shell.args(["-c", UNTIL_CLOSED]).arg(&folder);
    shell.stdin(Stdio::piped());
    // Not a child of a test's runtime, which ends before other tests do.
    let process = shell.as_std_mut().spawn();
    let process = process.unwrap_or_else(|error| panic!("bash is not installed: {error}"));
    wait_until_listening(port).await;
    SharedPgBouncer {
        port,
        _process: process,
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
    wait_until_listening(port).await;
    process
}

async fn wait_until_listening(port: u16) {
    eventually("PgBouncer listens", async || {
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
}
