use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};

use super::{Answer, Signal, TestDatabase, eventually, http, send_signal};

/// The exit code of a command, and its output.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

/// The real program, as a process.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Process {
    /// A command of the program with these settings as variables, and a free port.
    pub fn command(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command
            .args(arguments)
            .env_clear()
            // Two programs cannot have the usual one.
            .env("SLUICE_OPERATIONS_LISTEN", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// `sluice serve` over a database, on free ports.
    pub fn serve(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        Self::run(Self::command(&["serve"], &[]), database, settings)
    }

    /// The same, where no file can grow beyond a number of KiB.
    pub fn serve_with_files_of(database: &TestDatabase, kibibytes: u32) -> Self {
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!(
                "trap '' XFSZ; ulimit -f {kibibytes}; exec \"$0\" serve"
            ))
            .arg(env!("CARGO_BIN_EXE_sluice"))
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Self::run(command, database, &[])
    }

    fn run(mut command: Command, database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let directory = database.directory.path().to_str().unwrap();
        let own = [
            ("SLUICE_LISTEN", "127.0.0.1:0"),
            ("SLUICE_DATA_DIR", directory),
            ("DATABASE_URL", &database.url),
            // Quick, and patient, since many tests share few cores.
            ("SLUICE_BCRYPT_COST", "4"),
            ("SLUICE_CALL_TIMEOUT", "1min"),
            ("SLUICE_DB_ACQUIRE_TIMEOUT", "5s"),
        ];
        let mut child = command
            .envs(own.into_iter().chain(settings.iter().copied()))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();

        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = Arc::clone(&log);
        let reader = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, log, reader }
    }

    /// The secret of a new operator's key, from `sluice admin create-api-key`.
    pub async fn operators_key(database: &TestDatabase) -> String {
        let arguments = [
            "admin",
            "create-api-key",
            "--scope",
            "streams:publish",
            "--name",
            "m",
        ];
        let directory = database.directory.path().to_str().unwrap();
        let settings = [
            ("DATABASE_URL", &*database.url),
            ("SLUICE_DATA_DIR", directory),
        ];
        let output = Self::command(&arguments, &settings).output().await.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// `sluice admin` over a database.
    pub fn admin(
        database: &TestDatabase,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Command {
        let arguments: Vec<_> = ["admin"].iter().chain(arguments).copied().collect();
        let directory = database.directory.path().to_str().unwrap();
        let own = [
            ("DATABASE_URL", &*database.url),
            ("SLUICE_DATA_DIR", directory),
        ];
        let settings: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
        Self::command(&arguments, &settings)
    }

    /// Runs a command to its end, which must come within two minutes.
    pub async fn said(mut command: Command) -> Said {
        let ended = timeout(Duration::from_secs(120), command.output()).await;
        let output = ended.expect("the command ends").unwrap();
        Said {
            code: output.status.code(),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What the program has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// How much memory it has, in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    /// The address that it listens on, from its log.
    pub async fn address(&self) -> String {
        self.said_address("serving", "address").await
    }

    /// The address of its operations port, likewise.
    pub async fn operations_address(&self) -> String {
        self.said_address("serving operations", "port").await
    }

    async fn said_address(&self, message: &str, field: &str) -> String {
        eventually("the program says where it listens", async || {
            self.log().iter().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                (line["message"] == message).then(|| line[field].as_str().unwrap().to_owned())
            })
        })
        .await
    }

    /// A request to its operations port.
    pub async fn operations(&self, method: &str, path: &str, body: &str) -> Answer {
        http(&self.operations_address().await, method, path, body).await
    }

    /// A connection to it, once it serves.
    pub async fn channel(&self) -> Channel {
        let address = self.address().await;
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        eventually("the program serves", async || {
            let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
            let request = tonic_health::pb::HealthCheckRequest {
                service: String::new(),
            };
            (health.check(request).await.ok()?.into_inner().status == 1).then_some(())
        })
        .await;
        channel
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.id(), signal);
    }

    /// Waits until it ends and its whole log has been read, and gives its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let ended = timeout(Duration::from_secs(30), self.child.wait()).await;
        let code = ended.expect("the program ends").unwrap().code();
        if !self.reader.is_finished() {
            (&mut self.reader).await.unwrap();
        }
        code
    }
}
