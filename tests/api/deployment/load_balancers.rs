//! The load balancers of `deploy/`, as processes on addresses of the test.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};
use tonic::transport::{Channel, Endpoint};

use crate::harness::{Process, TestDatabase, eventually};

static COUNT: AtomicU8 = AtomicU8::new(1);

/// A load balancer for two replicas that can be stopped and started.
pub struct LoadBalancer {
    pub host: String,
    _child: Child,
    log: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

/// A loopback address that only this test uses, so that its ports stay free while a replica is
/// down.
pub fn unused_loopback_address() -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{high}.{low}.{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A command, which may be installed in a directory for administrators.
pub fn command_of(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

impl LoadBalancer {
    /// HAProxy with the configuration of `deploy/`.
    pub async fn haproxy() -> Self {
        let text = include_str!("../../../deploy/haproxy/haproxy.cfg");
        Self::start("haproxy", text.to_owned(), |file| {
            ["-db".as_ref(), "-f".as_ref(), file.as_os_str()]
                .map(OsStr::to_owned)
                .to_vec()
        })
        .await
    }

    /// nginx with the configuration of `deploy/`.
    pub async fn nginx() -> Self {
        let text = include_str!("../../../deploy/nginx/nginx.conf");
        // As a single process it ends with the test. Debian's default temporary paths may not be
        // writable.
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let folders = kinds.map(|kind| format!("{kind}_temp_path {kind};"));
        let text = text.replace("http {", &format!("http {{ {}", folders.join(" ")));
        Self::start(
            "nginx",
            format!("daemon off; master_process off; pid nginx.pid; {text}"),
            |file| {
                let prefix = file.parent().unwrap().as_os_str();
                let before: [&OsStr; 5] = [
                    "-e".as_ref(),
                    "stderr".as_ref(),
                    "-p".as_ref(),
                    prefix,
                    "-c".as_ref(),
                ];
                before
                    .into_iter()
                    .chain([file.as_os_str()])
                    .map(OsStr::to_owned)
                    .collect()
            },
        )
        .await
    }

    async fn start(
        name: &str,
        text: String,
        arguments: impl Fn(&Path) -> Vec<std::ffi::OsString>,
    ) -> Self {
        let (host, folder) = (unused_loopback_address(), TempDir::new().unwrap());
        let file = folder.path().join("balancer.conf");
        fs::write(&file, text.replace("127.0.0.1", &host)).unwrap();
        let mut child = command_of(name)
            .args(arguments(&file))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} is not installed: {error}"));

        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let shared_log = Arc::clone(&log);
        tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                shared_log.lock().unwrap().push(line);
            }
        });
        eventually("the load balancer listens", async || {
            TcpStream::connect((&*host, 50_050)).await.ok()
        })
        .await;
        Self {
            host,
            _child: child,
            log,
            _folder: folder,
        }
    }

    /// One of the two replicas.
    pub fn replica(&self, number: usize, database: &TestDatabase) -> Process {
        let listen = format!("{}:{}", self.host, 50_051 + number);
        let settings = [
            ("SLUICE_LISTEN", &*listen),
            ("SLUICE_TRUSTED_PROXIES", "127.0.0.1"),
            ("SLUICE_DRAIN_DELAY", "3s"),
            ("SLUICE_BCRYPT_COST", "4"),
        ];
        Process::serve(database, &settings)
    }

    /// A channel through the load balancer, from a source address.
    pub fn channel_from(&self, source: &str) -> Channel {
        Endpoint::from_shared(format!("http://{}:50050", self.host))
            .unwrap()
            .local_address(Some(source.parse().unwrap()))
            .connect_lazy()
    }

    /// Number of log lines that contain a text.
    pub fn count_log_lines(&self, text: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| line.contains(text)).count()
    }
}
