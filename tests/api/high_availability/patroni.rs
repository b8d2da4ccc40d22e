use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::harness::{
    DatabaseReuse, Pooling, Proxy, Signal, TestDatabase, children, eventually_within, http,
    send_signal, try_signal, unprivileged_folder,
};

/// How long the cluster may take to start, or to be complete again after a fault.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(120);

/// How long the REST API may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

const POSTGRESQL_PORT: u16 = 5432;
const REST_PORT: u16 = 8008;
const ETCD_PORT: u16 = 2379;

/// The networks of clusters that have started.
static COUNT: AtomicU8 = AtomicU8::new(0);

/// The three machines of `deploy/patroni/try.sh`, and HAProxy. They end with their standard input, so also
/// with this process.
pub struct PatroniCluster {
    // Dropped before the folder.
    _running: Running,
    directory: TempDir,
    network: String,
    machines: Vec<Machine>,
}

/// The script that runs the processes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The end of its standard input. It stops all processes, those that hang too.
        drop(self.0.stdin.take());
        for _ in 0..600 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A machine, and the proxies between it and the others. Sluice and HAProxy reach it without them.
struct Machine {
    folder: PathBuf,
    proxies: Vec<Proxy>,
}

/// A command of `try.sh`.
fn script(arguments: &[&str]) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/patroni/try.sh");
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null());
    command
}

async fn run_script(arguments: &[&str]) {
    let output = timeout(COMPLETION_TIMEOUT, script(arguments).output());
    let output = output.await.expect("the script ends").unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
}

/// A network of which no address is used.
fn unused_network() -> String {
    let is_free =
        |network: &str| TcpListener::bind(format!("{network}.1:{POSTGRESQL_PORT}")).is_ok();
    let low = std::process::id() % 256;
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let network = format!("127.{}.{low}", 255 - number);
        if is_free(&network) {
            return network;
        }
    }
}

impl PatroniCluster {
    /// Starts the cluster, with an empty database.
    pub async fn start() -> Self {
        let (directory, network) = (unprivileged_folder().await, unused_network());
        let path = directory.path().to_str().unwrap().to_owned();
        run_script(&["init", &path, &network]).await;
        let mut machines = Vec::new();
        for number in 1..=3 {
            let folder = directory.path().join(format!("pg{number}"));
            machines.push(Machine::start(folder, &network, number).await);
        }

        let mut child = script(&["run", &path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let cluster = Self {
            _running: Running(child),
            directory,
            network,
            machines,
        };
        let ready = timeout(COMPLETION_TIMEOUT, wait_until_ready(output)).await;
        ready.expect("the script says that it is ready");
        cluster
    }

    /// The database through HAProxy.
    pub fn database(&self) -> TestDatabase {
        TestDatabase {
            url: self.url("DATABASE_URL="),
            directory: TempDir::new().unwrap(),
            reuse: DatabaseReuse::disabled(),
            pooling: Pooling::Direct,
        }
    }

    /// The URL of the database with all three servers, without HAProxy.
    pub fn url_of_servers(&self) -> String {
        self.url("#DATABASE_URL=")
    }

    fn url(&self, prefix: &str) -> String {
        let settings = fs::read_to_string(self.directory.path().join("sluice.env")).unwrap();
        let mut urls = settings
            .lines()
            .filter_map(|line| line.strip_prefix(prefix));
        urls.next().expect("the script writes it").to_owned()
    }

    /// Waits until there are a primary, a synchronous standby and another one; returns the primary, a
    /// number from 1 to 3.
    pub async fn wait_until_complete(&self) -> usize {
        eventually_within(COMPLETION_TIMEOUT, "all machines run", async || {
            let primary = self.primary().await?;
            let members = self.members(primary).await?;
            let roles = |role: &str| {
                members
                    .iter()
                    .filter(|member| member["role"] == role)
                    .count()
            };
            let is_running = |member: &Value| {
                ["running", "streaming"]
                    .map(Value::from)
                    .contains(&member["state"])
            };
            let is_complete = members.len() == 3
                && members.iter().all(is_running)
                && (roles("leader"), roles("sync_standby"), roles("replica")) == (1, 1, 1);
            is_complete.then_some(primary)
        })
        .await
    }

    /// The primary, a number from 1 to 3.
    pub async fn primary(&self) -> Option<usize> {
        for number in 1..=3 {
            let answer = self.rest(number, "/primary").await;
            if answer.is_some_and(|(status, _)| status == 200) {
                return Some(number);
            }
        }
        None
    }

    /// The members of the cluster, as a machine sees them.
    async fn members(&self, number: usize) -> Option<Vec<Value>> {
        let (_, body) = self.rest(number, "/cluster").await?;
        let cluster: Value = serde_json::from_str(&body).ok()?;
        cluster["members"].as_array().cloned()
    }

    /// The status and the body of a response of Patroni. `None` without one.
    async fn rest(&self, number: usize, path: &str) -> Option<(u16, String)> {
        let address = format!("{}.{number}:{REST_PORT}", self.network);
        let answering = async {
            TcpStream::connect(&address).await.ok()?;
            let response = http(&address, "GET", path, "").await;
            Some((response.status, response.body))
        };
        timeout(ANSWER_TIMEOUT, answering).await.ok()?
    }

    /// Kills Patroni and all processes of PostgreSQL (SIGKILL).
    pub fn kill(&self, number: usize) {
        let machine = self.machine(number);
        // First what would start the other one again.
        send_signal(machine.patroni(), Signal::KILL);
        machine.signal_server(Signal::KILL);
    }

    /// Starts what was killed.
    pub async fn restart(&self) {
        run_script(&["start", self.directory.path().to_str().unwrap()]).await;
    }

    /// Suspends all processes of a machine (SIGSTOP), etcd too.
    pub fn freeze(&self, number: usize) {
        let machine = self.machine(number);
        for pid in [machine.etcd(), machine.patroni()] {
            send_signal(pid, Signal::STOP);
        }
        machine.signal_server(Signal::STOP);
    }

    /// Resumes them (SIGCONT).
    pub fn thaw(&self, number: usize) {
        let machine = self.machine(number);
        machine.signal_server(Signal::CONT);
        for pid in [machine.patroni(), machine.etcd()] {
            send_signal(pid, Signal::CONT);
        }
    }

    /// Lets a machine lose all bytes to and from etcd and the other machines. HAProxy and Sluice still
    /// reach it.
    pub fn cut_off(&self, number: usize) {
        for proxy in &self.machine(number).proxies {
            proxy.blackhole();
        }
    }

    /// Ends [`cut_off`](Self::cut_off).
    pub async fn reconnect(&mut self, number: usize) {
        for proxy in &mut self.machines[number - 1].proxies {
            proxy.forward();
            // The connections that have lost bytes end.
            proxy.disconnect().await;
            proxy.reconnect().await;
        }
    }

    /// Makes the synchronous standby the primary, with `patronictl`.
    pub async fn switch_over(&self) {
        let path = self.directory.path().to_str().unwrap();
        run_script(&["ctl", path, "switchover", "--force"]).await;
    }

    fn machine(&self, number: usize) -> &Machine {
        &self.machines[number - 1]
    }

    /// The last lines of the logs, for a test that fails.
    pub fn logs(&self) -> String {
        let names = ["etcd.log", "patroni.log"];
        let files = self
            .machines
            .iter()
            .flat_map(|machine| names.map(|name| machine.folder.join(name)));
        let last_lines = |file: PathBuf| {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(40).collect();
            let lines: Vec<_> = lines.into_iter().rev().collect();
            format!("{}:\n{}\n", file.display(), lines.join("\n"))
        };
        files.map(last_lines).collect()
    }
}

/// Reads until the script says that all is ready.
async fn wait_until_ready(output: ChildStdout) {
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.starts_with("PostgreSQL is ready") {
            return;
        }
    }
    panic!("the script has ended");
}

impl Machine {
    /// Puts proxies between a machine and the others.
    async fn start(folder: PathBuf, network: &str, number: usize) -> Self {
        let file = folder.join("patroni.env");
        let mut settings = fs::read_to_string(&file).unwrap();
        let mut proxies = Vec::new();
        let mut etcd = Vec::new();
        for machine in 1..=3 {
            let proxy = Proxy::to(address(network, machine, ETCD_PORT)).await;
            etcd.push(proxy.address.to_string());
            proxies.push(proxy);
        }
        let etcd = etcd.join(",");
        // Patroni asks etcd for other addresses otherwise.
        settings += &format!("PATRONI_ETCD_HOSTS={etcd}\nPATRONI_ETCD_USE_PROXIES=true\n");
        for (name, port) in [("RESTAPI", REST_PORT), ("POSTGRESQL", POSTGRESQL_PORT)] {
            let proxy = Proxy::to(address(network, number, port)).await;
            settings += &format!("PATRONI_{name}_CONNECT_ADDRESS={}\n", proxy.address);
            proxies.push(proxy);
        }
        fs::write(&file, settings).unwrap();
        Self { folder, proxies }
    }

    fn etcd(&self) -> u32 {
        self.pid("etcd.pid").expect("etcd runs")
    }

    fn patroni(&self) -> u32 {
        self.pid("patroni.pid").expect("Patroni runs")
    }

    fn pid(&self, file: &str) -> Option<u32> {
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        text.lines().next()?.parse().ok()
    }

    /// Sends a signal to the postmaster and its child processes.
    fn signal_server(&self, signal: Signal) {
        let postmaster = self.pid("data/postmaster.pid").expect("PostgreSQL runs");
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
}

fn address(network: &str, number: usize, port: u16) -> SocketAddr {
    format!("{network}.{number}:{port}").parse().unwrap()
}
