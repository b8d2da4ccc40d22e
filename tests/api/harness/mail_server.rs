use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{Mail, eventually, tool};

/// A real mail server, as a process.
pub struct MailServer {
    _child: Child,
    said: Arc<Mutex<Vec<Value>>>,
    pub port: u64,
}

/// The user and the password that the server knows, as they stand in a URL.
pub const LOGIN: &str = "sluice%40example.com:marked-p%3Aa%2Fs";

/// The same as they are.
pub const USER: &str = "sluice@example.com";
pub const PASSWORD: &str = "marked-p:a/s";

impl MailServer {
    /// A server that takes passwords in clear.
    pub async fn start() -> Self {
        Self::run(&[]).await
    }

    /// A server that wants STARTTLS, with this certificate.
    pub async fn start_with(certificate: &Certificate) -> Self {
        Self::run(&[&certificate.file, &certificate.key]).await
    }

    async fn run(certificate: &[&PathBuf]) -> Self {
        let mut child = Command::new(tool("venv/bin/python"))
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/clients/smtp_server.py"
            ))
            .args([USER, PASSWORD])
            .args(certificate)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Vec::<Value>::new()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let kept = Arc::clone(&said);
        tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                let value = serde_json::from_str(&line).unwrap();
                kept.lock().unwrap().push(value);
            }
        });
        let port = eventually("the mail server says its port", async || {
            said.lock().unwrap().first()?["port"].as_u64()
        })
        .await;
        Self {
            _child: child,
            said,
            port,
        }
    }

    /// The setting that names it.
    pub fn setting(&self) -> String {
        format!("smtp://{LOGIN}@127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        format!("127.0.0.1:{}", self.port).parse().unwrap()
    }

    /// What it said that has this key.
    pub fn said(&self, key: &str) -> Vec<Value> {
        let said = self.said.lock().unwrap();
        let with_key = |value: &&Value| value.get(key).is_some();
        said.iter().filter(with_key).cloned().collect()
    }

    /// The messages that it took for an address.
    pub fn mails(&self, email: &str) -> Vec<Mail> {
        let said = self.said("message").into_iter();
        said.filter(|value| value["recipients"] == serde_json::json!([email]))
            .map(|value| Mail::read(value["message"].as_str().unwrap()))
            .collect()
    }

    /// The first message for an address, once it is there.
    pub async fn mail(&self, email: &str) -> Mail {
        eventually("the mail server gets a message", async || {
            self.mails(email).into_iter().next()
        })
        .await
    }
}

/// A certificate of `localhost` that nobody has signed but itself.
pub struct Certificate {
    pub file: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one in a folder.
    pub async fn make(folder: &Path) -> Self {
        let (file, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args([Path::new("-keyout"), &key, Path::new("-out"), &file])
            .output()
            .await
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        Self { file, key }
    }
}
