use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tempfile::TempDir;

/// A running server on a new database, with default settings except those given.
pub struct Server {
    process: Child,
    /// The address.
    pub address: SocketAddr,
    settings: Vec<(&'static str, String)>,
    /// The PostgreSQL server and the name of the database.
    postgres: Option<(String, String)>,
    directory: TempDir,
}

impl Server {
    /// Starts it on `SQLite`, or else on the PostgreSQL that `SLUICE_TEST_POSTGRES_URL` names.
    pub async fn start(engine: &str, changed: &[(&'static str, &str)]) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let data = directory.path().to_str().context("a path in UTF-8")?;
        let mut settings = vec![("SLUICE_DATA_DIR", data.to_owned())];
        let changed = changed.iter();
        settings.extend(changed.map(|(name, value)| (*name, (*value).to_owned())));
        let mut postgres = None;
        if engine != "SQLite" {
            let admin = env::var("SLUICE_TEST_POSTGRES_URL")
                .context("SLUICE_TEST_POSTGRES_URL names a PostgreSQL server")?;
            let (server, _) = admin.rsplit_once('/').context("a URL with a database")?;
            let name = format!("sluice_attacks_{}", std::process::id());
            execute(&admin, format!("create database {name}")).await?;
            settings.push(("DATABASE_URL", format!("{server}/{name}")));
            postgres = Some((admin, name));
        }
        let (process, address) = serve(&settings)?;
        Ok(Self {
            process,
            address,
            settings,
            postgres,
            directory: directory,
        })
    }

    /// The URL of the database.
    pub fn database_url(&self) -> String {
        let url = self.settings.iter().find(|one| one.0 == "DATABASE_URL");
        match url {
            Some((_, url)) => url.clone(),
            None => format!(
                "sqlite:{}",
                self.directory.path().join("sluice.db").display()
            ),
        }
    }

    /// Creates a key for media servers; returns its secret.
    pub fn create_operator_key(&self) -> anyhow::Result<String> {
        let created = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .env("SLUICE_ENV_FILE", "off")
            .args(["admin", "create-api-key", "--scope", "streams:publish"])
            .args(["--name", "attacked"])
            .envs(self.settings.iter().cloned())
            .output()?;
        Ok(String::from_utf8(created.stdout)?.trim().to_owned())
    }

    /// Forgets the peak of the resident memory until now.
    pub fn reset_peak_memory(&self) -> anyhow::Result<()> {
        let path = format!("/proc/{}/clear_refs", self.process.id());
        Ok(fs::write(path, "5")?)
    }

    /// The peak of the resident memory, in MiB.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let mut lines = status.lines();
        let peak = lines.find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = peak.and_then(|peak| peak.split_whitespace().next());
        Ok(kibibytes.context("VmHWM")?.parse::<u64>()? / 1024)
    }

    /// Ends the server and drops its database.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        if let Some((admin, name)) = self.postgres.take() {
            execute(&admin, format!("drop database {name} with (force)")).await?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
    }
}

async fn execute(url: &str, statement: String) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let statement = sqlx::raw_sql(AssertSqlSafe(statement));
    statement.execute(&mut connection).await?;
    Ok(())
}

/// Starts the real server. Returns its address once it serves.
fn serve(settings: &[(&str, String)]) -> anyhow::Result<(Child, SocketAddr)> {
    let mut process = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .env("SLUICE_ENV_FILE", "off")
        .arg("serve")
        .env("SLUICE_LISTEN", "127.0.0.1:0")
        .env("SLUICE_OPERATIONS_LISTEN", "off")
        .env("SLUICE_LOG_FORMAT", "json")
        .env("SLUICE_LOG", "info")
        .envs(settings.iter().cloned())
        .stderr(Stdio::piped())
        .spawn()?;
    let log = process.stderr.take().context("a log")?;
    let mut lines = BufReader::new(log).lines();
    let mut address = None;
    for line in lines.by_ref() {
        let line: serde_json::Value = serde_json::from_str(&line?)?;
        if line["message"] == "serving" {
            address = line["address"].as_str().map(str::parse).transpose()?;
        }
        let status = line["status"].as_str().unwrap_or_default();
        if status.eq_ignore_ascii_case("serving") {
            break;
        }
    }
    // The log must not fill its pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Ok((process, address.context("the logged address")?))
}
