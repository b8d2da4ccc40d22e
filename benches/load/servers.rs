//! The servers that are measured, each a process of its own that ends with its value.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

/// A running server.
pub struct Program {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// A token that it accepts, if it says one.
    pub token: String,
}

/// A database of PostgreSQL, gone when this is dropped by [`Bench::end`].
pub struct Bench {
    admin: PgConnection,
    name: String,
    /// Where it is.
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

    /// The real server over this database, as in production but for its limits.
    pub fn sluice(&self, settings: &[(&str, &str)]) -> anyhow::Result<Program> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command
            .arg("serve")
            .env("SLUICE_LISTEN", "127.0.0.1:0")
            .env("SLUICE_DATA_DIR", self.directory.path())
            .env("DATABASE_URL", &self.url)
            .env("SLUICE_CALLER_RATE", "0")
            .env("SLUICE_ADDRESS_RATE", "0")
            .env("SLUICE_MAX_ADDRESS_CONNECTIONS", "10000")
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
        // Somebody has to read the rest, or the server would wait.
        thread::spawn(move || {
            let faults = lines.map_while(Result::ok);
            for line in faults.filter(|line| line.contains(r#""level":"ERROR""#)) {
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

    /// A ceiling: `echo` or `select`; or `layered`, which is the echo with our layers.
    pub fn bare(&self, kind: &str, pool_size: u32) -> anyhow::Result<Program> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--bare", kind])
            .env("DATABASE_URL", &self.url)
            .env("POOL_SIZE", pool_size.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("an output")?;
        let mut lines = BufReader::new(output).lines();
        let line = lines.next().context("it says its address")??;
        let (address, token) = line.split_once(' ').unwrap_or((&line, ""));
        Ok(Program {
            process,
            address: address.parse()?,
            token: token.to_owned(),
        })
    }
}

/// The address that a server says, once it serves.
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
            return address.context("it says where it listens");
        }
    }
    anyhow::bail!("the server does not start")
}

impl Program {
    /// The id of its process.
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
