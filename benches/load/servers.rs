//! The measured servers, each a process that ends when its value is dropped.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
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

/// What is measured.
pub struct Bench {
    admin: PgConnection,
    /// The program of this build with a database, then the one to compare it with, if any.
    pub sides: Vec<Side>,
}

/// A program to measure, and its database.
pub struct Side {
    program: PathBuf,
    /// The name of its PostgreSQL database, dropped by [`Bench::end`], and its URL.
    name: String,
    pub url: String,
    directory: TempDir,
}

/// The engine of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// The side's database of PostgreSQL.
    Postgres,
    /// A file in the side's directory.
    Sqlite,
}

impl Bench {
    /// New databases on the server that `SLUICE_TEST_POSTGRES_URL` names.
    pub async fn begin() -> anyhow::Result<Self> {
        let server = env::var("SLUICE_TEST_POSTGRES_URL")
            .context("SLUICE_TEST_POSTGRES_URL names a PostgreSQL server")?;
        let (host, _) = server.rsplit_once('/').context("a URL with a database")?;
        let mut admin = PgConnection::connect(&server).await?;
        let mut programs = vec![PathBuf::from(env!("CARGO_BIN_EXE_sluice"))];
        programs.extend(env::var_os("SLUICE_BENCH_BASELINE").map(PathBuf::from));
        // SQLite is measured on the disk of the build, not in memory.
        let disk = env::current_dir()?.join("target");
        let mut sides = Vec::new();
        for (number, program) in programs.into_iter().enumerate() {
            let name = format!("sluice_bench_{}_{number}", std::process::id());
            let create = AssertSqlSafe(format!("create database {name}"));
            sqlx::raw_sql(create).execute(&mut admin).await?;
            sides.push(Side {
                program,
                url: format!("{host}/{name}"),
                name,
                directory: tempfile::tempdir_in(&disk)?,
            });
        }
        Ok(Self { admin, sides })
    }

    /// Drops the databases.
    pub async fn end(mut self) -> anyhow::Result<()> {
        for side in &self.sides {
            let drop = AssertSqlSafe(format!("drop database {} with (force)", side.name));
            sqlx::raw_sql(drop).execute(&mut self.admin).await?;
        }
        Ok(())
    }

    /// The side of this build.
    pub fn ours(&self) -> &Side {
        &self.sides[0]
    }

    /// Starts the server of this build on PostgreSQL.
    pub fn sluice(&self, settings: &[(&str, &str)]) -> anyhow::Result<Program> {
        self.ours().serve(Storage::Postgres, settings)
    }

    /// Starts the servers of all sides.
    pub fn serve_all(
        &self,
        storage: Storage,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Vec<Program>> {
        let sides = self.sides.iter();
        sides.map(|side| side.serve(storage, settings)).collect()
    }
}

impl Side {
    /// A command of the program with this database, and the limits of production disabled.
    fn command(&self, storage: Storage) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("SLUICE_ENV_FILE", "off")
            .env("SLUICE_DATA_DIR", self.directory.path())
            .env("SLUICE_CALLER_RATE", "0")
            .env("SLUICE_ADDRESS_RATE", "0")
            .env("SLUICE_MAX_ADDRESS_CONNECTIONS", "10000")
            .env("SLUICE_TRUSTED_PROXIES", "127.0.0.1")
            .env("SLUICE_OPERATIONS_LISTEN", "off")
            .env("SLUICE_MAIL", "off")
            .env("SLUICE_ACCESS_TOKEN_LIFETIME", "2h")
            .env("SLUICE_LOG", "info")
            .env("SLUICE_LOG_FORMAT", "json")
            // Streams do not end between rounds.
            .env("SLUICE_HEARTBEAT_TIMEOUT", "1h")
            .env("SLUICE_CONNECT_TIMEOUT", "1h");
        match storage {
            Storage::Postgres => command.env("DATABASE_URL", &self.url),
            Storage::Sqlite => command.env_remove("DATABASE_URL"),
        };
        command
    }

    /// The secret of a new API key that may publish.
    pub fn media_key(&self, storage: Storage) -> anyhow::Result<String> {
        self.operator_key(storage, &["streams:publish"])
    }

    /// The secret of a new operator key with these scopes.
    pub fn operator_key(&self, storage: Storage, scopes: &[&str]) -> anyhow::Result<String> {
        let output = self
            .command(storage)
            .args(["admin", "create-api-key", "--name=m"])
            .args(scopes.iter().map(|scope| format!("--scope={scope}")))
            .output()?;
        let secret = String::from_utf8(output.stdout)?.trim().to_owned();
        let failure = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "create-api-key: {failure}");
        Ok(secret)
    }

    /// The directory of the generated keys.
    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// The file of SQLite.
    pub fn sqlite_file(&self) -> PathBuf {
        self.data_dir().join("sluice.db")
    }

    /// Starts the server.
    pub fn serve(&self, storage: Storage, settings: &[(&str, &str)]) -> anyhow::Result<Program> {
        self.serve_and_read(storage, settings, |line| {
            if line.contains(r#""level":"ERROR""#) {
                eprintln!("{line}");
            }
        })
    }

    /// Starts the server, and calls a function with each line of its log.
    pub fn serve_and_read(
        &self,
        storage: Storage,
        settings: &[(&str, &str)],
        read: impl Fn(&str) + Send + 'static,
    ) -> anyhow::Result<Program> {
        let mut process = self
            .command(storage)
            .arg("serve")
            .env("SLUICE_LISTEN", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = process.stderr.take().context("a log")?;
        let mut lines = BufReader::new(log).lines();
        let address = address_in(&mut lines)?;
        // The log must be read, or the server would block on the full pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| read(&line)));
        let token = String::new();
        Ok(Program {
            process,
            address,
            token,
        })
    }
}

impl Bench {
    /// Starts a minimal server: `echo`, `select`, or `layered`, the echo behind our layers.
    pub fn bare(&self, kind: &str, pool_size: u32) -> anyhow::Result<Program> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--bare", kind])
            .env("DATABASE_URL", &self.ours().url)
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
