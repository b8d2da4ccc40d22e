//! The measured servers, each a process that ends when its value is dropped.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tempfile::TempDir;

/// A running server.
pub struct Program {
    process: Child,
    /// The address.
    pub address: SocketAddr,
    /// A token that it accepts, or empty.
    pub token: String,
}

/// A PostgreSQL database, dropped by [`Bench::end`].
pub struct Bench {
    admin: PgConnection,
    name: String,
    /// The URL.
    pub url: String,
    directory: TempDir,
}

impl Bench {
    /// A new database on the server that `SLUICE_TEST_POSTGRES_URL` names.
    pub async fn begin() -> anyhow::Result<Self> {
        let server = env::var("SLUICE_TEST_POSTGRES_URL")
            .context("SLUICE_TEST_POSTGRES_URL names a PostgreSQL server")?;
        let (host, _) = server.rsplit_once('/').context("a URL with a database")?;
        let name = format!("sluice_bench_{}", std::process::id());
        let mut admin = PgConnection::connect(&server).await?;
        let create = AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(create).execute(&mut admin).await?;
        Ok(Self {
            admin,
            url: format!("{host}/{name}"),
            name,
            directory: TempDir::new()?,
        })
    }

    /// Drops the database.
    pub async fn end(mut self) -> anyhow::Result<()> {
        let drop = AssertSqlSafe(format!("drop database {} with (force)", self.name));
        sqlx::raw_sql(drop).execute(&mut self.admin).await?;
        Ok(())
    }

    /// Starts the real server on this database, with the limits of production disabled.
    pub fn sluice(&self, settings: &[(&str, &str)]) -> anyhow::Result<Program> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command
            .env("SLUICE_ENV_FILE", "off")
            .arg("serve")
            .env("SLUICE_LISTEN", "127.0.0.1:0")
            .env("SLUICE_DATA_DIR", self.directory.path())
            .env("DATABASE_URL", &self.url)
            .env("SLUICE_CALLER_RATE", "0")
            .env("SLUICE_ADDRESS_RATE", "0")
            .env("SLUICE_MAX_ADDRESS_CONNECTIONS", "10000")
            .env("SLUICE_TRUSTED_PROXIES", "127.0.0.1")
            .env("SLUICE_OPERATIONS_LISTEN", "off")
            .env("SLUICE_MAIL", "off")
            .env("SLUICE_ACCESS_TOKEN_LIFETIME", "2h")
            .env("SLUICE_LOG", "info")
            .env("SLUICE_LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let log = process.stderr.take().context("a log")?;
        let mut lines = BufReader::new(log).lines();
        let address = address_in(&mut lines)?;
        // The log must be read, or the server would block on the full pipe.
        thread::spawn(move || {
            let lines = lines.map_while(Result::ok);
            for line in lines.filter(|line| line.contains(r#""level":"ERROR""#)) {
                eprintln!("{line}");
            }
        });
        let token = String::new();
        Ok(Program {
            process,
            address,
            token,
        })
    }

    /// Starts a minimal server: `echo`, `select`, or `layered`, the echo behind our layers.
    pub fn bare(&self, kind: &str, pool_size: u32) -> anyhow::Result<Program> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--bare", kind])
            .env("DATABASE_URL", &self.url)
            .env("POOL_SIZE", pool_size.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("an output")?;
        let mut lines = BufReader::new(output).lines();
        let line = lines.next().context("the printed address")??;
        let (address, token) = line.split_once(' ').unwrap_or((&line, ""));
        Ok(Program {
            process,
            address: address.parse()?,
            token: token.to_owned(),
        })
    }
}

/// The address in a server's log, once it serves.
fn address_in(lines: &mut Lines<BufReader<impl Read>>) -> anyhow::Result<SocketAddr> {
    let mut address = None;
    for line in lines {
        let line = line?;
        let line: serde_json::Value = serde_json::from_str(&line).context(line)?;
        if line["message"] == "serving" {
            address = line["address"].as_str().map(str::parse).transpose()?;
        }
        if line["status"]
            .as_str()
            .is_some_and(|status| status.eq_ignore_ascii_case("serving"))
        {
            return address.context("the logged address");
        }
    }
    anyhow::bail!("the server did not start")
}

impl Program {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
