use std::{collections::BTreeMap, fs, path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use super::{Signal, eventually, http, send_signal, unprivileged::free_port};

/// A NATS server for one test, which can kill, suspend and restart it.
pub struct NatsServer {
    folder: TempDir,
    port: u16,
    monitor: u16,
    process: Option<Child>,
}

/// A client of a NATS server that is no replica.
pub struct NatsClient {
    stream: BufReader<TcpStream>,
}

impl NatsServer {
    /// Starts a server that accepts everyone.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts a server with these lines in its configuration.
    pub async fn start_with(configuration: &str) -> Self {
        let mut server = Self {
            folder: TempDir::new().unwrap(),
            port: free_port(),
            monitor: free_port(),
            process: None,
        };
        let lines = format!(
            "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n{configuration}\n",
            server.port, server.monitor
        );
        fs::write(server.configuration(), lines).unwrap();
        server.start_again().await;
        server
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its URL with a user and a password, or a token.
    pub fn url_with(&self, login: &str) -> String {
        format!("nats://{login}@127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    /// Starts it again after it was killed.
    pub async fn start_again(&mut self) {
        let path = std::env::var("PATH").unwrap();
        let process = Command::new("nats-server")
            .env("PATH", format!("{path}:/usr/sbin"))
            .arg("--config")
            .arg(self.configuration())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let process =
            process.unwrap_or_else(|error| panic!("nats-server is not installed: {error}"));
        self.process = Some(process);
        eventually("the NATS server listens", async || {
            TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            TcpStream::connect(("127.0.0.1", self.monitor)).await.ok()
        })
        .await;
    }

    /// Suspends it (SIGSTOP): it accepts connections and answers nothing.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        send_signal(process.id().expect("it runs"), signal);
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("nats.conf")
    }

    /// The subjects to which replicas are subscribed, and how many of them.
    pub async fn subscriptions(&self) -> BTreeMap<String, usize> {
        let monitor = format!("127.0.0.1:{}", self.monitor);
        let answer = http(&monitor, "GET", "/connz?subs=1", "").await;
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        let connections = answer["connections"].as_array().unwrap().iter();
        let replicas = connections.filter(|connection| connection["name"] == "sluice");
        let mut subscriptions = BTreeMap::new();
        for subject in replicas.flat_map(|replica| replica["subscriptions_list"].as_array()) {
            for subject in subject {
                let subject = subject.as_str().unwrap().to_owned();
                *subscriptions.entry(subject).or_default() += 1;
            }
        }
        subscriptions
    }

    /// Waits until replicas are subscribed to exactly these subjects, each as often as it is named.
    pub async fn wait_for_subscriptions(&self, subjects: &[&str]) {
        let mut expected = BTreeMap::new();
        for subject in subjects {
            *expected.entry((*subject).to_owned()).or_default() += 1;
        }
        eventually("the replicas are subscribed", async || {
            (self.subscriptions().await == expected).then_some(())
        })
        .await;
    }

    /// Connects a client, with no credentials.
    pub async fn client(&self) -> NatsClient {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut client = NatsClient {
            stream: BufReader::new(stream),
        };
        assert!(client.line().await.starts_with("INFO "));
        client
            .send(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n")
            .await;
        client.flush().await;
        client
    }
}

impl NatsClient {
    /// Publishes a message; returns when the server has it.
    pub async fn publish(&mut self, subject: &str, payload: &[u8]) {
        let head = format!("PUB {subject} {}\r\n", payload.len());
        self.send(&[head.as_bytes(), payload, b"\r\n"].concat())
            .await;
        self.flush().await;
    }

    /// Subscribes to a subject, which may have wildcards.
    pub async fn subscribe(&mut self, subject: &str) {
        self.send(format!("SUB {subject} 1\r\n").as_bytes()).await;
        self.flush().await;
    }

    /// The subject of the next message, which must be empty.
    pub async fn next(&mut self) -> String {
        let line = timeout(Duration::from_secs(20), self.line()).await;
        let line = line.expect("a message arrives");
        let words: Vec<_> = line.split(' ').collect();
        let ["MSG", subject, "1", "0"] = words[..] else {
            panic!("an empty message without a reply: {line}")
        };
        let subject = subject.to_owned();
        self.stream.read_exact(&mut [0; 2]).await.unwrap();
        subject
    }

    /// Waits until the server has read everything.
    async fn flush(&mut self) {
        self.send(b"PING\r\n").await;
        assert_eq!(self.line().await, "PONG");
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next line that is not a ping, which it answers.
    async fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            match line.trim_end() {
                "PING" => self.send(b"PONG\r\n").await,
                line => return line.to_owned(),
            }
        }
    }
}
