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

use super::{Mail, SkewedClock, eventually, tool};

/// A separate SMTP server process (`tests/clients/smtp_server.py`).
pub struct MailServer {
    _child: Child,
    events: Arc<Mutex<Vec<Value>>>,
    pub port: u64,
}

/// The user and password that the server accepts, percent-encoded for a URL.
pub const LOGIN: &str = "sluice%40example.com:marked-p%3Aa%2Fs";

/// The user and password without encoding.
pub const USER: &str = "sluice@example.com";
pub const PASSWORD: &str = "marked-p:a/s";

impl MailServer {
    /// Starts a server that accepts passwords without TLS.
    pub async fn start() -> Self {
        Self::spawn(&[]).await
    }

    /// Starts a server that requires STARTTLS.
    pub async fn start_with(certificate: &Certificate) -> Self {
        Self::spawn(&[&certificate.file, &certificate.key]).await
    }

    async fn spawn(certificate: &[&PathBuf]) -> Self {
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
        let events = Arc::new(Mutex::new(Vec::<Value>::new()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let writer = Arc::clone(&events);
        tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                let value = serde_json::from_str(&line).unwrap();
                writer.lock().unwrap().push(value);
            }
        });
        let port = eventually("the mail server reports its port", async || {
            events.lock().unwrap().first()?["port"].as_u64()
        })
        .await;
        Self {
            _child: child,
            events,
            port,
        }
    }

    /// The server's URL, as the mail setting.
    pub fn setting(&self) -> String {
        format!("smtp://{LOGIN}@127.0.0.1:{}", self.port)
    }

    /// The listening address.
    pub fn address(&self) -> SocketAddr {
        format!("127.0.0.1:{}", self.port).parse().unwrap()
    }

    /// The reported events with this key.
    pub fn events(&self, key: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap();
        let with_key = |value: &&Value| value.get(key).is_some();
        events.iter().filter(with_key).cloned().collect()
    }

    /// The accepted messages to an address.
    pub fn mails(&self, email: &str) -> Vec<Mail> {
        let events = self.events("message").into_iter();
        events
            .filter(|value| value["recipients"] == serde_json::json!([email]))
            .map(|value| Mail::parse(value["message"].as_str().unwrap()))
            .collect()
    }

    /// Waits for the first message to an address.
    pub async fn mail(&self, email: &str) -> Mail {
        eventually("the mail server receives a message", async || {
            self.mails(email).into_iter().next()
        })
        .await
    }
}

/// A self-signed certificate for `localhost`.
pub struct Certificate {
    pub file: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// Creates a certificate in a folder.
    pub async fn make(folder: &Path) -> Self {
        Self::make_with(folder, Command::new("openssl")).await
    }

    /// Creates a certificate that has expired.
    pub async fn make_expired(folder: &Path) -> Self {
        const TEN_DAYS: i64 = 10 * 24 * 3600;
        let clock = SkewedClock::ahead_by(-TEN_DAYS);
        let mut openssl = Command::new("openssl");
        clock.apply_to(&mut openssl);
        Self::make_with(folder, openssl).await
    }

    async fn make_with(folder: &Path, mut openssl: Command) -> Self {
        let (file, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let created = openssl
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
            created.status.success(),
            "{}",
            String::from_utf8_lossy(&created.stderr)
        );
        Self { file, key }
    }
}
