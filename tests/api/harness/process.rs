use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::transport::{Channel, Endpoint};

use sluice::proto::v1 as pb;

use super::{
    Client, FullDisk, HttpResponse, RebindingName, Signal, SkewedClock, TestDatabase, VolatileDisk,
    eventually, http, send_signal,
};

/// The exit code and the output of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub exit_code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A process of the `sluice` binary.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Process {
    /// A `sluice` command with environment variables. Its operations port is a free port.
    pub fn command(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_sluice"));
        Self::program(program, arguments, settings)
    }

    /// A command of another program with settings of Sluice.
    pub fn program(program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            // Two processes cannot share the default port.
            .env("SLUICE_OPERATIONS_LISTEN", "127.0.0.1:0")
            .env("SLUICE_EDGE_OPERATIONS_LISTEN", "127.0.0.1:0")
            // Not the settings of whoever runs the tests.
            .env("SLUICE_ENV_FILE", "off")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts `sluice serve` with a database, on free ports.
    pub fn serve(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        Self::spawn(Self::command(&["serve"], &[]), database, settings)
    }

    /// Starts `sluice serve` on a machine with this clock.
    pub fn serve_with_clock(
        database: &TestDatabase,
        clock: &SkewedClock,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut command = Self::command(&["serve"], &[]);
        clock.apply_to(&mut command);
        Self::spawn(command, database, settings)
    }

    /// Starts `sluice serve` with its database on this disk.
    pub fn serve_on_disk(
        database: &TestDatabase,
        disk: &FullDisk,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut command = Self::command(&["serve"], &[]);
        disk.apply_to(&mut command);
        Self::spawn(command, database, settings)
    }

    /// Starts `sluice serve` with its database on a disk that can lose its power.
    pub fn serve_on_volatile_disk(database: &TestDatabase, disk: &VolatileDisk) -> Self {
        let mut command = Self::command(&["serve"], &[]);
        disk.apply_to(&mut command);
        // Each sync copies the files.
        let settings = [
            ("SLUICE_DB_ACQUIRE_TIMEOUT", "1min"),
            ("SLUICE_CALL_TIMEOUT", "2min"),
        ];
        Self::spawn(command, database, &settings)
    }

    /// Starts `sluice serve` with a host name whose address changes.
    pub fn serve_with_rebinding(
        database: &TestDatabase,
        name: &RebindingName,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut command = Self::command(&["serve"], &[]);
        name.apply_to(&mut command);
        Self::spawn(command, database, settings)
    }

    /// Starts `sluice serve` with a maximum file size in KiB (`ulimit -f`).
    pub fn serve_with_max_file_size(database: &TestDatabase, kibibytes: u32) -> Self {
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!(
                "trap '' XFSZ; ulimit -f {kibibytes}; exec \"$0\" serve"
            ))
            .arg(env!("CARGO_BIN_EXE_sluice"))
            .env_clear()
            .env("SLUICE_ENV_FILE", "off")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Self::spawn(command, database, &[])
    }

    /// Starts a server with this command and a database, on free ports.
    pub fn spawn(mut command: Command, database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let directory = database.directory.path().to_str().unwrap();
        let own = [
            ("SLUICE_LISTEN", "127.0.0.1:0"),
            ("SLUICE_DATA_DIR", directory),
            // Fast password hashes, and long timeouts because many tests share few cores.
            ("SLUICE_BCRYPT_COST", "4"),
            ("SLUICE_CALL_TIMEOUT", "1min"),
            ("SLUICE_DB_ACQUIRE_TIMEOUT", "20s"),
            ("SLUICE_DB_TIMEOUT", "20s"),
            // All tests have the same address.
            ("SLUICE_MAX_ANONYMOUS_CONNECTIONS", "10000"),
            ("SLUICE_ADDRESS_CONNECTION_RATE", "0"),
            ("SLUICE_UNUSED_CONNECTION_TIMEOUT", "10min"),
        ];
        let mut child = command
            .envs(own.into_iter().chain(database.settings()))
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();

        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let writer = Arc::clone(&log);
        let reader = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                writer.lock().unwrap().push(line);
            }
        });
        Self { child, log, reader }
    }

    /// Creates the operator key of a media server; returns its secret.
    pub async fn create_operator_key(database: &TestDatabase) -> String {
        Self::create_operator_key_with(database, &["streams:publish"]).await
    }

    /// Creates an operator key with `sluice admin create-api-key`; returns its secret.
    pub async fn create_operator_key_with(database: &TestDatabase, scopes: &[&str]) -> String {
        let mut arguments = vec!["admin", "create-api-key", "--name", "m"];
        arguments.extend(scopes.iter().flat_map(|scope| ["--scope", scope]));
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

    /// A `sluice admin` command for a database.
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
            ("SLUICE_DB_ACQUIRE_TIMEOUT", "20s"),
            ("SLUICE_DB_TIMEOUT", "20s"),
        ];
        let settings: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
        Self::command(&arguments, &settings)
    }

    /// Runs a command, which must end within two minutes.
    pub async fn run(command: Command) -> CommandOutput {
        Self::run_within(Duration::from_secs(120), command).await
    }

    /// Runs a command, which must end in time.
    pub async fn run_within(limit: Duration, mut command: Command) -> CommandOutput {
        let ended = timeout(limit, command.output()).await;
        let output = ended.expect("the command ends").unwrap();
        CommandOutput {
            exit_code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The log lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it is running")
    }

    /// The resident memory in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    /// The listening address, from the log.
    pub async fn address(&self) -> String {
        self.logged_address("serving", "address").await
    }

    /// The address of the operations port, from the log.
    pub async fn operations_address(&self) -> String {
        self.logged_address("serving operations", "port").await
    }

    async fn logged_address(&self, message: &str, field: &str) -> String {
        eventually("the process logs its address", async || {
            self.log().iter().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                (line["message"] == message).then(|| line[field].as_str().unwrap().to_owned())
            })
        })
        .await
    }

    /// Sends a request to the operations port.
    pub async fn operations(&self, method: &str, path: &str, body: &str) -> HttpResponse {
        http(&self.operations_address().await, method, path, body).await
    }

    /// A connection; waits until the server answers calls, healthy or not.
    pub async fn answering_channel(&self) -> Channel {
        let channel = self.lazy_channel().await;
        eventually("the server answers calls", async || {
            let mut client = Client::anonymous(&channel).auth;
            client.get_jwks(pb::GetJwksRequest {}).await.ok()
        })
        .await;
        channel
    }

    async fn lazy_channel(&self) -> Channel {
        let address = self.address().await;
        let endpoint = match address.starts_with("unix:") {
            true => Endpoint::from_shared(address),
            false => Endpoint::from_shared(format!("http://{address}")),
        };
        endpoint.unwrap().connect_lazy()
    }

    /// A connection; waits until the server is healthy.
    pub async fn channel(&self) -> Channel {
        let channel = self.lazy_channel().await;
        let check = async || {
            let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
            let request = tonic_health::pb::HealthCheckRequest {
                service: String::new(),
            };
            let response = health.check(request).await?;
            Ok::<_, tonic::Status>(response.into_inner().status)
        };
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let status = check().await;
            if status.as_ref().is_ok_and(|status| *status == 1) {
                break;
            }
            let log = || self.log().join("\n");
            assert!(
                Instant::now() < deadline,
                "not healthy: {status:?}\n{}",
                log()
            );
            sleep(Duration::from_millis(10)).await;
        }
        channel
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.id(), signal);
    }

    /// Waits until the process exits and its log is complete; returns the exit code.
    pub async fn wait_for_exit(&mut self) -> Option<i32> {
        let ended = timeout(Duration::from_secs(30), self.child.wait()).await;
        let code = ended.expect("the process exits").unwrap().code();
        if !self.reader.is_finished() {
            (&mut self.reader).await.unwrap();
        }
        code
    }
}
